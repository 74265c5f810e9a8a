-- The search rows: made from the bytes of entries, and held against them. Run again by every migration.
-- Nobody but the owner may write them, and the owner writes what the entries say: what stands there cannot be chosen by whoever calls this.
-- Nor by the caller's settings: there is no backslash in a string here, which `standard_conforming_strings` could turn into another.

-- Whether an entry is nested deeper than the format allows: 64 arrays and objects. Asked only where something is wrong with it.
create or replace function indelible.nested_too_deep(p_entry bytea) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    -- A copy: each look at a byte of a compressed value would unpack all of it.
    v_entry constant bytea := p_entry || bytea '';
    v_byte integer;
    v_depth integer := 0;
    v_quoted boolean := false;
    v_escaped boolean := false;
begin
    for n in 0 .. octet_length(v_entry) - 1 loop
        v_byte := get_byte(v_entry, n);
        if v_escaped then
            v_escaped := false;
        elsif v_quoted then
            -- Backslash 92, quote 34.
            v_escaped := v_byte = 92;
            v_quoted := v_byte <> 34;
        elsif v_byte = 34 then
            v_quoted := true;
        elsif v_byte in (91, 123) then
            v_depth := v_depth + 1;
            if v_depth > 64 then
                return true;
            end if;
        elsif v_byte in (93, 125) then
            v_depth := v_depth - 1;
        end if;
    end loop;
    return false;
end $$;

-- One member of a JSON text, where `jsonb` takes that member.
create or replace function indelible.readable_member(p_entry json, p_path text[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return (p_entry #> p_path)::text::jsonb;
exception when data_exception then
    return null;
end $$;

-- What can be had of an entry that `jsonb` refuses: without its NUL characters, which no text here can hold; or the single members that are searched,
-- where a number too large stands in another; or nothing.
create or replace function indelible.readable_entry(p_entry bytea) returns jsonb
language plpgsql stable set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_text text;
    v_json json;
begin
    begin
        -- Escaped backslashes are set aside, so that `\\u0000` is not taken for a NUL. No JSON text has the character 1 as it is.
        v_text := replace(replace(replace(convert_from(p_entry, 'UTF8'), repeat(chr(92), 2), chr(1)), chr(92) || 'u0000', '?'), chr(1), repeat(chr(92), 2));
        return v_text::jsonb;
    exception when data_exception then
        null;
    end;
    begin
        v_json := v_text::json;
    exception when data_exception then
        return '{}';
    end;
    return jsonb_strip_nulls(jsonb_build_object(
        'control', jsonb_build_object('type', indelible.readable_member(v_json, '{control,type}')),
        'event', jsonb_build_object(
            'action', indelible.readable_member(v_json, '{event,action}'),
            'actor', jsonb_build_object('id', indelible.readable_member(v_json, '{event,actor,id}'),
                'on_behalf_of', indelible.readable_member(v_json, '{event,actor,on_behalf_of}'),
                'type', indelible.readable_member(v_json, '{event,actor,type}')),
            'context', jsonb_build_object('request_id', indelible.readable_member(v_json, '{event,context,request_id}'),
                'source_ip', indelible.readable_member(v_json, '{event,context,source_ip}')),
            'id', indelible.readable_member(v_json, '{event,id}'),
            'kind', indelible.readable_member(v_json, '{event,kind}'),
            'occurred_at', indelible.readable_member(v_json, '{event,occurred_at}'),
            'outcome', indelible.readable_member(v_json, '{event,outcome}'),
            'severity', indelible.readable_member(v_json, '{event,severity}'),
            'subjects', indelible.readable_member(v_json, '{event,subjects}'),
            'tags', indelible.readable_member(v_json, '{event,tags}'),
            'targets', indelible.readable_member(v_json, '{event,targets}'),
            'tenant', indelible.readable_member(v_json, '{event,tenant}'))));
end $$;

-- The time that an RFC 3339 text says. Whatever else this server takes for a time (`now`, `infinity`) is none.
create or replace function indelible.time_said(p_text text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if p_text ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,30})?([Zz]|[+-][0-9]{2}:[0-9]{2})$' then
        return p_text::timestamptz;
    end if;
    return null;
exception when data_exception then
    return null;
end $$;

-- A value as long as an index takes it. An event's ids have 2048 bytes at most; no index holds 2704.
create or replace function indelible.shortened(p_value text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return case when octet_length(p_value) > 2048 then left(p_value, 500) else p_value end;
end $$;

create or replace function indelible.shortened_all(p_values text[]) returns text[]
language plpgsql immutable set search_path = pg_catalog, indelible, pg_temp as $$
begin
    return (select array_agg(indelible.shortened(u.value) order by u.n) from unnest(p_values) with ordinality u(value, n));
end $$;

-- The texts at a path, in their order; null where there is none.
create or replace function indelible.texts_at(p_json jsonb, p_path jsonpath) returns text[]
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return (select array_agg(q #>> '{}') from jsonb_path_query(p_json, p_path) q);
end $$;

-- The search row of an entry. It depends on its arguments alone, so that it can be held against the entry at any time.
create or replace function indelible.search_row(p_log bigint, p_idx bigint, p_recorded_at timestamptz, p_entry bytea) returns indelible.search
language plpgsql stable set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_row indelible.search;
    v_long indelible.search;
    v_entry jsonb;
    v_event jsonb;
begin
    v_row.log := p_log;
    v_row.idx := p_idx;
    v_row.recorded_at := p_recorded_at;
    v_row.whole := true;
    begin
        v_entry := convert_from(p_entry, 'UTF8')::jsonb;
    exception when data_exception or statement_too_complex then
        v_row.whole := false;
        v_entry := '{}';
        if not indelible.nested_too_deep(p_entry) then
            -- An entry of the format's depth fits into any stack but one that the caller has used up, to have less indexed than there is.
            if sqlstate = '54001' then
                raise;
            end if;
            v_entry := indelible.readable_entry(p_entry);
        end if;
    end;
    v_event := v_entry -> 'event';
    v_row.control := v_entry -> 'control' ->> 'type';
    v_row.action := v_event ->> 'action';
    v_row.kind := v_event ->> 'kind';
    v_row.outcome := v_event ->> 'outcome';
    v_row.severity := v_event ->> 'severity';
    v_row.tenant := v_event ->> 'tenant';
    v_row.actor_type := v_event -> 'actor' ->> 'type';
    v_row.actor_id := v_event -> 'actor' ->> 'id';
    v_row.source_ip := v_event -> 'context' ->> 'source_ip';
    v_row.request_id := v_event -> 'context' ->> 'request_id';
    v_row.event_id := v_event ->> 'id';
    -- Most events have one target: a query for it would cost as much as all the rest of the row.
    if v_event #> '{targets,0}' is not null and v_event #> '{targets,1}' is null then
        v_row.target_types := nullif(array[v_event #>> '{targets,0,type}'], array[null::text]);
        v_row.target_ids := nullif(array[v_event #>> '{targets,0,id}'], array[null::text]);
    elsif v_event ? 'targets' then
        v_row.target_types := indelible.texts_at(v_event, 'lax $.targets[*].type');
        v_row.target_ids := indelible.texts_at(v_event, 'lax $.targets[*].id');
    end if;
    if v_event ? 'tags' then
        v_row.tags := indelible.texts_at(v_event, 'lax $.tags[*]');
    end if;
    -- Subjects and principals are ids, or objects with one.
    if v_event ? 'subjects' then
        v_row.subjects := indelible.texts_at(v_event, 'lax $.subjects[*] ? (@.type() == "string")') || indelible.texts_at(v_event, 'lax $.subjects[*].id');
    end if;
    if v_event -> 'actor' ? 'on_behalf_of' then
        v_row.on_behalf_of := indelible.texts_at(v_event, 'lax $.actor.on_behalf_of[*] ? (@.type() == "string")')
            || indelible.texts_at(v_event, 'lax $.actor.on_behalf_of[*].id');
    end if;
    if v_event ? 'occurred_at' then
        v_row.occurred_at := indelible.time_said(v_event ->> 'occurred_at');
        v_row.whole := v_row.whole and v_row.occurred_at is not null;
    end if;
    if v_row.action is null and v_row.control is null then
        v_row.whole := false;
    end if;
    -- No value is longer than its entry.
    if octet_length(p_entry) > 2048 then
        v_long := v_row;
        v_row.control := indelible.shortened(v_row.control);
        v_row.action := indelible.shortened(v_row.action);
        v_row.kind := indelible.shortened(v_row.kind);
        v_row.outcome := indelible.shortened(v_row.outcome);
        v_row.severity := indelible.shortened(v_row.severity);
        v_row.tenant := indelible.shortened(v_row.tenant);
        v_row.actor_type := indelible.shortened(v_row.actor_type);
        v_row.actor_id := indelible.shortened(v_row.actor_id);
        v_row.on_behalf_of := indelible.shortened_all(v_row.on_behalf_of);
        v_row.target_types := indelible.shortened_all(v_row.target_types);
        v_row.target_ids := indelible.shortened_all(v_row.target_ids);
        v_row.subjects := indelible.shortened_all(v_row.subjects);
        v_row.tags := indelible.shortened_all(v_row.tags);
        v_row.source_ip := indelible.shortened(v_row.source_ip);
        v_row.request_id := indelible.shortened(v_row.request_id);
        v_row.event_id := indelible.shortened(v_row.event_id);
        v_row.whole := v_row.whole and v_row is not distinct from v_long;
    end if;
    return v_row;
end $$;

-- Indexes the next entries of a log, and says how many of how many are indexed; null where another process is at it.
-- Rows that somebody put behind the end are written over; an entry that is stored twice is indexed once, and verification tells it.
create or replace function indelible.index_entries(p_log bigint, p_at_most integer, out o_end bigint, out o_size bigint)
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_from bigint;
begin
    select s.size into v_from from indelible.search_ends s where s.log = p_log for update skip locked;
    if not found then
        if exists (select from indelible.search_ends s where s.log = p_log) then
            return;
        end if;
        insert into indelible.search_ends (log) select l.number from indelible.logs l where l.number = p_log on conflict do nothing;
        select s.size into v_from from indelible.search_ends s where s.log = p_log for update;
        if not found then
            raise exception 'there is no log with number %', p_log using errcode = 'IDN01';
        end if;
    end if;
    select h.size into o_size from indelible.heads h where h.log = p_log;
    o_end := least(o_size, v_from + least(greatest(p_at_most, 1), 10000));
    if o_end <= v_from then
        o_end := v_from;
        return;
    end if;
    -- A piece has 4 MiB of entries at most: one of 64 kB can have ten thousand tags, and no piece may take longer than a statement is given.
    select coalesce(max(x.idx) + 1, o_end) into o_end from (
        select e.idx, sum(octet_length(e.entry)) over (order by e.idx) - octet_length(e.entry) as before
            from indelible.entries e where e.log = p_log and e.idx >= v_from and e.idx < o_end
    ) x where x.before < 4194304;
    delete from indelible.search s where s.log = p_log and s.idx >= v_from and s.idx < o_end;
    -- `offset 0` keeps each row from being made once for every column; a call in FROM would take longer than the call itself.
    insert into indelible.search
        select (x.r).* from (
            select indelible.search_row(e.log, e.idx, e.recorded_at, e.entry) as r from (
                select distinct on (e.idx) e.log, e.idx, e.recorded_at, e.entry from indelible.entries e
                    where e.log = p_log and e.idx >= v_from and e.idx < o_end order by e.idx, e.recorded_at
            ) e offset 0
        ) x;
    update indelible.search_ends s set size = o_end where s.log = p_log;
end $$;

-- What differs between the search rows `p_from ..` up to and without `p_to` and the entries: `missing`, `surplus`, or `altered` with the columns.
-- Entries that have not been indexed yet are no difference; rows of theirs are.
create or replace function indelible.check_index(p_log bigint, p_from bigint, p_to bigint) returns table (o_idx bigint, o_kind text, o_columns text)
language plpgsql stable set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_end constant bigint := coalesce((select s.size from indelible.search_ends s where s.log = p_log), 0);
begin
    return query
        with said as (
            select e.idx, indelible.search_row(e.log, e.idx, e.recorded_at, e.entry) as r from (
                select distinct on (x.idx) x.log, x.idx, x.recorded_at, x.entry from indelible.entries x
                    where x.log = p_log and x.idx >= p_from and x.idx < least(p_to, v_end) order by x.idx, x.recorded_at
            ) e
        ), found as (
            select s.idx, s as r from indelible.search s where s.log = p_log and s.idx >= p_from and s.idx < p_to
        )
        select idx, case when found.r is null then 'missing' when said.r is null then 'surplus' else 'altered' end,
            (select string_agg(a.key, ', ' order by a.key) from jsonb_each(to_jsonb(said.r)) a join jsonb_each(to_jsonb(found.r)) b on b.key = a.key
                where a.value <> b.value)
            from said full join found using (idx) where said.r is distinct from found.r order by idx;
end $$;

revoke execute on all functions in schema indelible from public;
grant select on indelible.search, indelible.search_ends to audit_reader;
grant execute on function indelible.nested_too_deep, indelible.readable_member, indelible.readable_entry, indelible.time_said, indelible.shortened, indelible.shortened_all,
    indelible.texts_at, indelible.search_row, indelible.check_index to audit_reader;
grant execute on function indelible.index_entries to audit_writer;
