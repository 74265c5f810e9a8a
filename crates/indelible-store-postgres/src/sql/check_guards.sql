-- Every way in which the schema is not as it was made: a place and what is wrong there.
with expected(name, row_guard) as (
    values ('logs', 'refuse_change'), ('entries', 'refuse_change'), ('ids', 'refuse_change'), ('tree_hashes', 'refuse_change'),
        ('checkpoints', 'refuse_change'), ('attachments', 'refuse_change'), ('schema_migrations', 'refuse_change'),
        ('heads', 'refuse_shrinking'), ('trees', 'refuse_shrinking'), ('published', 'refuse_removal'),
        ('outbox', 'refuse_edit'), ('outbox_refused', 'refuse_change')
), named as (
    select e.name, e.row_guard, pg_catalog.to_regclass('indelible.' || e.name) as oid from expected e
), tables as (
    select n.name::text, n.row_guard::text, n.oid::oid from named n where n.oid is not null
    union all
    select c.relname::text, 'refuse_change', c.oid from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = pg_catalog.to_regclass('indelible.entries')
), guards(trigger_name, kind) as (
    -- Bits of tgtype: row 1, before 2, delete 8, update 16, truncate 32.
    values ('refuse_change', 27), ('refuse_truncate', 34)
)
select 'indelible.' || n.name, 'the table is missing' from named n where n.oid is null
union all
select 'indelible.' || t.name, case when g.oid is null then 'its trigger `' || w.trigger_name || '` is missing'
        when g.tgenabled <> 'A' then 'its trigger `' || w.trigger_name || '` is not enabled for everybody'
        else 'its trigger `' || w.trigger_name || '` was changed' end
    from tables t cross join guards w
    left join pg_catalog.pg_trigger g on g.tgrelid = t.oid and g.tgname = w.trigger_name
    left join pg_catalog.pg_proc p on p.oid = g.tgfoid
    left join pg_catalog.pg_namespace s on s.oid = p.pronamespace
    where g.oid is null or g.tgenabled <> 'A' or g.tgtype <> w.kind or g.tgqual is not null or pg_catalog.cardinality(g.tgattr::int2[]) > 0
        or s.nspname <> 'indelible' or p.proname <> case w.trigger_name when 'refuse_change' then t.row_guard else 'refuse_change' end
union all
select 'indelible.' || t.name, 'it has a trigger `' || g.tgname || '` that is not ours'
    from tables t join pg_catalog.pg_trigger g on g.tgrelid = t.oid
    where not g.tgisinternal and g.tgname not in (select w.trigger_name from guards w)
union all
select 'indelible.' || t.name, 'it has a rule `' || r.rulename || '`' from tables t join pg_catalog.pg_rewrite r on r.ev_class = t.oid
union all
select 'indelible.' || t.name, 'it belongs to `' || pg_catalog.pg_get_userbyid(c.relowner) || '`, not to `indelible_owner`'
    from tables t join pg_catalog.pg_class c on c.oid = t.oid where pg_catalog.pg_get_userbyid(c.relowner) <> 'indelible_owner'
union all
select 'indelible.' || t.name, 'role `' || pg_catalog.pg_get_userbyid(a.grantee) || '` may ' || a.privilege_type || ' there'
    from tables t join pg_catalog.pg_class c on c.oid = t.oid cross join pg_catalog.aclexplode(c.relacl) a
    where a.grantee <> c.relowner and a.privilege_type <> 'SELECT'
union all
select 'role ' || r.rolname, 'it may log in: nobody is to be the owner of the log'
    from pg_catalog.pg_roles r where r.rolname = 'indelible_owner' and r.rolcanlogin
