-- Every way in which a log's schema is not as it was made: what it allows, where, what is wrong there, and what to do about it.
-- All parameters are arrays of text. $1: schema and owner. $2: guarded tables. $3 to $6: their triggers, as table, name, function and bits of
-- tgtype. $7 to $10: functions, as name, SHA-256 of the text, whether with its owner's rights, search path. $11 to $14: what others than the owner may do, as
-- kind of thing, its name, role and right. $15 to $18: constraints and defaults, as kind, table, name (of the column, for a default) and text.
-- Allowed is `change` of what was recorded, or `read` of it, or nothing that is not wanted (`note`). Without a remedy, migrating puts it back.
with recursive home as (
    select n.oid, n.nspname, n.nspowner, n.nspacl from pg_catalog.pg_namespace n where n.nspname = ($1)[1]
), master as (
    select r.oid, r.rolname, r.rolcanlogin, r.rolsuper from pg_catalog.pg_roles r where r.rolname = ($1)[2]
), named as (
    select t.name, c.oid from unnest($2) t(name)
        left join (pg_catalog.pg_class c join home h on h.oid = c.relnamespace) on c.relname = t.name and c.relkind in ('r', 'p')
), tables as (
    select n.name as root, n.oid from named n where n.oid is not null
    union
    select n.name, p.relid::oid from named n cross join lateral pg_catalog.pg_partition_tree(n.oid) p where n.oid is not null
), guarded as (
    select t.root, t.oid, pg_catalog.format('%I.%I', ($1)[1], c.relname) as place, c.relrowsecurity or c.relforcerowsecurity as hides
        from tables t join pg_catalog.pg_class c on c.oid = t.oid
), watched as (
    -- Tables without guards of their own carry no trigger either: no name of one is theirs.
    select g.root, g.oid, g.place, g.hides from guarded g
    union all
    select null, c.oid, pg_catalog.format('%I.%I', ($1)[1], c.relname), c.relrowsecurity or c.relforcerowsecurity
        from pg_catalog.pg_class c join home h on h.oid = c.relnamespace where c.relkind in ('r', 'p') and c.oid not in (select t.oid from tables t)
), triggers as (
    select w.root, w.name, w.function, w.kind::int2 from unnest($3, $4, $5, $6) w(root, name, function, kind)
), functions as (
    select f.name, f.digest, f.definer::bool, 'search_path=' || f.path as config from unnest($7, $8, $9, $10) f(name, digest, definer, path)
), routines as (
    select p.oid, p.proname::text as name, p.prosecdef, p.proisstrict as strict,
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(p.prosrc, 'UTF8')), 'hex') as digest, p.proconfig, p.proowner,
        coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)) as acl, p.oid::pg_catalog.regprocedure::text as place
        from pg_catalog.pg_proc p join home h on h.oid = p.pronamespace
), rights as (
    select g.kind, g.name, g.role, g.privilege from unnest($11, $12, $13, $14) g(kind, name, role, privilege)
), made as (
    select m.kind, m.root, m.name, m.text from unnest($15, $16, $17, $18) m(kind, root, name, text)
), computed as (
    -- What the server computes for whoever writes a row, with the rights of that one: here, of the owner. A constraint of a partition's parent is told there.
    select 'constraint' as kind, coalesce(w.root, c.relname::text) as root, k.conname::text as name, pg_catalog.pg_get_constraintdef(k.oid) as text, w.place,
        pg_catalog.format('alter table %s drop constraint %I', w.place, k.conname) as away
        from watched w join pg_catalog.pg_class c on c.oid = w.oid join pg_catalog.pg_constraint k on k.conrelid = w.oid
        where k.contype = 'c' and k.coninhcount = 0
    union all
    select 'default', coalesce(w.root, c.relname::text), a.attname::text, pg_catalog.pg_get_expr(d.adbin, d.adrelid), w.place,
        pg_catalog.format(case when a.attgenerated = '' then 'alter table %s alter column %I drop default' else 'alter table %s drop column %I' end, w.place, a.attname)
        from watched w join pg_catalog.pg_class c on c.oid = w.oid join pg_catalog.pg_attrdef d on d.adrelid = w.oid
        join pg_catalog.pg_attribute a on a.attrelid = w.oid and a.attnum = d.adnum
), things as (
    select case c.relkind when 'S' then 'sequence' else 'table' end as kind, c.relname::text as name, c.relowner as owner, c.relacl as acl,
        pg_catalog.format('%I.%I', ($1)[1], c.relname) as place, '' as part
        from pg_catalog.pg_class c join home h on h.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select 'column', c.relname || '.' || a.attname, c.relowner, a.attacl, pg_catalog.format('%I.%I', ($1)[1], c.relname),
        pg_catalog.format(' (%I)', a.attname)
        from pg_catalog.pg_class c join home h on h.oid = c.relnamespace join pg_catalog.pg_attribute a on a.attrelid = c.oid
        where a.attacl is not null and not a.attisdropped
    union all
    select 'function', r.name, r.proowner, r.acl, r.place, '' from routines r
    union all
    select 'schema', h.nspname::text, h.nspowner, h.nspacl, pg_catalog.quote_ident(h.nspname), '' from home h
), granted as (
    select t.kind, t.name, t.place, t.part, a.privilege_type as privilege, a.is_grantable,
        case a.grantee when 0 then 'public' else pg_catalog.pg_get_userbyid(a.grantee)::text end as role
        from things t cross join lateral pg_catalog.aclexplode(t.acl) a where a.grantee <> t.owner
), members as (
    -- Before PostgreSQL 16 every membership could be used; since then one may only allow to give it to oneself.
    select m.roleid, m.member, coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::bool or (pg_catalog.to_jsonb(m) ->> 'inherit_option')::bool, true) as used
        from pg_catalog.pg_auth_members m
), reached as (
    select m.member, m.member as direct from members m join master o on o.oid = m.roleid where m.used
    union
    select m.member, r.direct from members m join reached r on r.member = m.roleid where m.used
), faults(allows, place, detail, remedy) as (
    select 'change', ($1)[1] || '.' || n.name, 'the table is missing', 'put the database back from a backup, and verify the logs'
        from named n where n.oid is null
    union all
    select 'change', t.place, pg_catalog.format('its trigger `%s` %s', w.name, case when g.oid is null then 'is missing'
            when g.tgenabled <> 'A' then 'is not enabled for everybody' else 'was changed' end), null
        from guarded t join triggers w on w.root = t.root
        left join pg_catalog.pg_trigger g on g.tgrelid = t.oid and g.tgname = w.name
        left join pg_catalog.pg_proc p on p.oid = g.tgfoid left join pg_catalog.pg_namespace s on s.oid = p.pronamespace
        where g.oid is null or g.tgenabled <> 'A' or g.tgtype <> w.kind or g.tgqual is not null or pg_catalog.cardinality(g.tgattr::int2[]) > 0
            or s.nspname <> ($1)[1] or p.proname <> w.function
    union all
    select 'change', t.place, pg_catalog.format('it has a trigger `%s` that is not the log''s', g.tgname),
            pg_catalog.format('find out who made it, then `drop trigger %I on %s`', g.tgname, t.place)
        from watched t join pg_catalog.pg_trigger g on g.tgrelid = t.oid
        where not g.tgisinternal and not exists (select from triggers w where w.root = t.root and w.name = g.tgname)
    union all
    select 'change', t.place, pg_catalog.format('it has a rule `%s`', r.rulename),
            pg_catalog.format('find out who made it, then `drop rule %I on %s`', r.rulename, t.place)
        from watched t join pg_catalog.pg_rewrite r on r.ev_class = t.oid
    union all
    select 'change', c.place, pg_catalog.format('its %s `%s` is not the log''s, and runs with the owner''s rights: %s', c.kind, c.name, c.text),
            pg_catalog.format('find out who made it, then `%s`', case when c.kind = 'default' and m.text is not null
                then pg_catalog.format('alter table %s alter column %I set default %s', c.place, c.name, m.text) else c.away end)
        from computed c left join made m on (m.kind, m.root, m.name) = (c.kind, c.root, c.name) where m.text is distinct from c.text
    union all
    -- What belongs to the server itself is pinned, and nothing is said to depend on it.
    select distinct 'change', w.place, pg_catalog.format('its index `%s` runs code that is not the server''s, with the owner''s rights', x.relname),
            pg_catalog.format('find out who made it, then `drop index %s`', x.oid::pg_catalog.regclass)
        from watched w join pg_catalog.pg_index i on i.indrelid = w.oid join pg_catalog.pg_class x on x.oid = i.indexrelid
        join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = x.oid
        where d.refclassid in ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
    union all
    select distinct 'change', w.place, pg_catalog.format('its statistics `%s` run code that is not the server''s, with the owner''s rights', x.stxname),
            pg_catalog.format('find out who made them, then `drop statistics %s.%I`', x.stxnamespace::pg_catalog.regnamespace, x.stxname)
        from watched w join pg_catalog.pg_statistic_ext x on x.stxrelid = w.oid
        join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass and d.objid = x.oid
        where d.refclassid in ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)
    union all
    select 'change', t.place, 'it has row security, which hides rows',
            pg_catalog.format('`alter table %s disable row level security, no force row level security`', t.place)
        from watched t where t.hides
    union all
    select 'change', i.identity, pg_catalog.format('it is no part of the log and belongs to `%s`, whose rights it lends', ($1)[2]),
            pg_catalog.format('find out who made it, then `drop %s %s`', i.type, i.identity)
        from pg_catalog.pg_shdepend d join master o on d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.refobjid = o.oid
        cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) i
        -- Default privileges are told by what they give.
        where d.deptype = 'o' and d.classid <> 'pg_catalog.pg_default_acl'::pg_catalog.regclass and d.dbid = (select b.oid from pg_catalog.pg_database b where b.datname = pg_catalog.current_database())
            and not exists (select from home h where d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.objid = h.oid)
            and not exists (select from pg_catalog.pg_class c join home h on h.oid = c.relnamespace
                where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and c.relkind in ('r', 'p', 'S'))
            and not exists (select from routines r where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = r.oid)
    union all
    select 'change', t.oid::pg_catalog.regclass::text, 'it is a partition of the log in another schema',
            pg_catalog.format('find out who made it; verify the log; then detach it')
        from tables t join pg_catalog.pg_class c on c.oid = t.oid where c.relnamespace not in (select h.oid from home h)
    union all
    select case w.rolname when 'pg_write_all_data' then 'change' else 'read' end, 'role ' || r.rolname,
            pg_catalog.format('it is a member of `%s`, and so may %s every table', w.rolname, case w.rolname when 'pg_write_all_data' then 'write' else 'read' end),
            pg_catalog.format('`revoke %I from %I`', w.rolname, r.rolname)
        from pg_catalog.pg_auth_members m join pg_catalog.pg_roles w on w.oid = m.roleid join pg_catalog.pg_roles r on r.oid = m.member
        where w.rolname in ('pg_write_all_data', 'pg_read_all_data') and not r.rolsuper
    union all
    select 'change', t.place, pg_catalog.format('it has a child table `%s` whose rows it shows', k.relname),
            pg_catalog.format('find out who made it, then `alter table %s no inherit %s`', k.oid::pg_catalog.regclass, t.place)
        from guarded t join pg_catalog.pg_inherits i on i.inhparent = t.oid join pg_catalog.pg_class k on k.oid = i.inhrelid where not k.relispartition
    union all
    select 'change', pg_catalog.format('function %s.%s', ($1)[1], f.name), 'it is missing', null
        from functions f where not exists (select from routines r where r.name = f.name)
    union all
    select 'change', 'function ' || r.place, 'it is not the log''s', pg_catalog.format('find out who made it, then `drop routine %s`', r.place)
        from routines r where not exists (select from functions f where f.name = r.name)
    union all
    select 'change', pg_catalog.format('function %s.%s', ($1)[1], r.name), pg_catalog.format('it is there %s times', count(*)),
            pg_catalog.format('find out who made the others, then drop them; there are %s', pg_catalog.string_agg(r.place, ' and ' order by r.place))
        from routines r join functions f on f.name = r.name group by r.name having count(*) > 1
    union all
    select 'change', 'function ' || r.place, case when r.digest <> f.digest then 'it has another text'
            when r.prosecdef <> f.definer then 'it runs with the rights of another than its maker meant'
            when r.strict then 'it does nothing where an argument is NULL'
            else pg_catalog.format('its settings are `%s`, not `%s`', coalesce(pg_catalog.array_to_string(r.proconfig, ';'), ''), f.config) end,
            case when r.strict and r.digest = f.digest then pg_catalog.format('`alter function %s called on null input`', r.place) end
        from routines r join functions f on f.name = r.name
        where r.digest <> f.digest or r.prosecdef <> f.definer or r.strict or r.proconfig is distinct from array[f.config]
    union all
    select 'change', t.kind || ' ' || t.place, pg_catalog.format('it belongs to `%s`, not to `%s`', pg_catalog.pg_get_userbyid(t.owner), ($1)[2]),
            pg_catalog.format('`alter %s %s owner to %I`', t.kind, t.place, ($1)[2])
        from things t where t.kind <> 'column' and pg_catalog.pg_get_userbyid(t.owner) <> ($1)[2]
    union all
    select case when g.privilege in ('SELECT', 'USAGE') and g.kind <> 'sequence' and not g.is_grantable then 'read' else 'change' end,
            g.kind || ' ' || g.place || g.part, pg_catalog.format('`%s` may %s there%s, and is not meant to', g.role, g.privilege,
                case when g.is_grantable then ' and pass that on' else '' end),
            pg_catalog.format('`revoke %s%s%s on %s %s from %s`', case when r.role is null then '' else 'grant option for ' end, g.privilege, g.part,
                case g.kind when 'column' then 'table' else g.kind end, g.place, case g.role when 'public' then g.role else pg_catalog.quote_ident(g.role) end)
        from granted g left join rights r on (r.kind, r.name, r.role, r.privilege) = (g.kind, g.name, g.role, g.privilege)
        where g.is_grantable or r.role is null
    union all
    select 'note', r.kind || ' ' || r.name, pg_catalog.format('`%s` may not %s there', r.role, r.privilege), null
        from rights r where exists (select from things t where (t.kind, t.name) = (r.kind, r.name)) and not exists (select from granted g
            where (g.kind, g.name, g.role, g.privilege) = (r.kind, r.name, r.role, r.privilege))
    union all
    select 'change', 'role ' || r.rolname, pg_catalog.format('it is a member of `%s`%s: nobody is to be the owner of the log', ($1)[2],
                case when d.oid = r.oid then '' else pg_catalog.format(' through `%s`', d.rolname) end),
            pg_catalog.format('`revoke %I from %I`', ($1)[2], d.rolname)
        from reached m join pg_catalog.pg_roles r on r.oid = m.member join pg_catalog.pg_roles d on d.oid = m.direct
        where r.rolcanlogin and not r.rolsuper
    union all
    select 'note', 'role ' || r.rolname, pg_catalog.format('it may make itself a member of `%s`', ($1)[2]), 'let only those who migrate log in as it'
        from members m join master o on o.oid = m.roleid join pg_catalog.pg_roles r on r.oid = m.member
        where not m.used and r.rolcanlogin and not r.rolsuper
    union all
    select 'change', 'role ' || o.rolname, 'it may log in: nobody is to be the owner of the log', pg_catalog.format('`alter role %I nologin`', o.rolname)
        from master o where o.rolcanlogin
    union all
    select 'change', 'role ' || o.rolname, 'it is a superuser, and so is who runs a function of the log''s',
            pg_catalog.format('`alter role %I nosuperuser`', o.rolname)
        from master o where o.rolsuper
    union all
    select 'change', pg_catalog.format('default privileges of %s', u.rolname), pg_catalog.format('`%s` will have %s on what is made from now on',
                case a.grantee when 0 then 'public' else pg_catalog.pg_get_userbyid(a.grantee)::text end, a.privilege_type),
            pg_catalog.format('`alter default privileges for role %I%s revoke %s on %s from %s`', u.rolname,
                case when d.defaclnamespace = 0 then '' else pg_catalog.format(' in schema %I', ($1)[1]) end, a.privilege_type,
                case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end,
                case a.grantee when 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end)
        from pg_catalog.pg_default_acl d join pg_catalog.pg_roles u on u.oid = d.defaclrole cross join lateral pg_catalog.aclexplode(d.defaclacl) a
        where (d.defaclnamespace in (select h.oid from home h) or d.defaclnamespace = 0 and d.defaclrole in (select o.oid from master o))
            and a.grantee <> d.defaclrole
            -- What everybody has anyhow, unless it was taken away.
            and not (d.defaclnamespace = 0 and a.grantee = 0 and d.defaclobjtype in ('f', 'T'))
)
select f.allows, f.place, f.detail, f.remedy from faults f order by f.allows, f.place, f.detail
