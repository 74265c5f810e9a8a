-- The door of the retention role: bodies are taken away where an entry says that they were pruned, and nowhere else. Run again by every migration.
-- An error of its own: IDP01 what is asked for is on no record.

-- What the log says of itself is never pruned. Members stand in the order of their names, and no other that an entry has comes before `control`.
create or replace function indelible.is_control(p_entry bytea) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return substr(p_entry, 1, 11) = convert_to('{"control":', 'UTF8');
end $$;

-- The guard of the entries: no change for anybody, and no removal but of what `prune` has put on its list.
create or replace function indelible.refuse_unpruned() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' and current_user = 'indelible_owner' then
        if not indelible.is_control(old.entry)
                and exists (select from indelible.pruned p where p.log = old.log and old.idx between p.first and p.last) then
            return old;
        end if;
    end if;
    raise exception '% on %.% is refused: what an audit log has recorded is not changed or removed',
        tg_op, tg_table_schema, tg_table_name using errcode = 'IDW01';
end $$;

-- Takes the bodies of entries `p_first` to `p_last` away, at most ten thousand in one call, and their search rows; says how many, and whether there are more.
-- Entry `p_record`, below the published checkpoint, has to say that just these were pruned. Whether somebody authorised that is seen by verification, not here.
-- Ids, hashes, checkpoints and attachments stay, and so do control records.
create or replace function indelible.prune(p_log bigint, p_first bigint, p_last bigint, p_record bigint, out o_pruned bigint, out o_left boolean)
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_covered constant bigint := coalesce(least((select p.size from indelible.published p where p.log = p_log),
        (select t.size from indelible.trees t where t.log = p_log)), 0);
    v_says jsonb;
    v_from bigint;
    v_to bigint;
begin
    if not exists (select from indelible.logs l where l.number = p_log) then
        raise exception 'there is no log with number %', p_log using errcode = 'IDN01';
    end if;
    if not coalesce(p_first between 1 and p_last and p_last < p_record, false) then
        raise exception 'entries % to % are no range behind entry 0 and before entry %, which is to say that they were pruned', p_first, p_last, p_record
            using errcode = 'IDP01';
    end if;
    if p_record >= v_covered then
        raise exception 'no checkpoint covers entry %, which is to say that entries % to % were pruned', p_record, p_first, p_last using errcode = 'IDP01';
    end if;
    select convert_from(e.entry, 'UTF8')::jsonb -> 'control' into v_says from indelible.entries e
        where e.log = p_log and e.idx = p_record and indelible.is_control(e.entry);
    if (v_says ->> 'type', v_says ->> 'first', v_says ->> 'last') is distinct from ('pruned', p_first::text, p_last::text) then
        raise exception 'entry % does not say that entries % to % were pruned', p_record, p_first, p_last using errcode = 'IDP01';
    end if;
    -- An indexer holds this row while it reads entries and writes their search rows: none comes back behind our deletion.
    insert into indelible.search_ends (log) values (p_log) on conflict do nothing;
    perform from indelible.search_ends s where s.log = p_log for update;
    insert into indelible.pruned (log, record, first, last) values (p_log, p_record, p_first, p_last) on conflict do nothing;
    select min(x.idx), max(x.idx) into v_from, v_to from (
        select e.idx from indelible.entries e where e.log = p_log and e.idx between p_first and p_last and not indelible.is_control(e.entry)
            order by e.idx limit 10000
    ) x;
    delete from indelible.entries e where e.log = p_log and e.idx between v_from and v_to and not indelible.is_control(e.entry);
    get diagnostics o_pruned = row_count;
    delete from indelible.search s where s.log = p_log and s.idx between v_from and v_to
        and not exists (select from indelible.entries e where e.log = p_log and e.idx = s.idx);
    o_left := exists (select from indelible.entries e where e.log = p_log and e.idx between v_to and p_last and not indelible.is_control(e.entry));
end $$;

revoke execute on all functions in schema indelible from public;
grant select on indelible.pruned to audit_reader;
grant execute on function indelible.prune to audit_retention;
