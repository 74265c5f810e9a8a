-- The doors of the outbox. Run again by every migration.
-- Errors of their own: IDO01 what was given is no event, IDO02 nothing says which log it is for.

-- An id for an event that has none: a UUID of version 7 (RFC 9562, section 5.7).
create or replace function indelible.new_event_id() returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    v_time constant text := lpad(to_hex(floor(extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0');
    v_random constant text := replace(gen_random_uuid()::text, '-', '');
begin
    return substr(v_time, 1, 8) || '-' || substr(v_time, 9, 4) || '-7' || substr(v_random, 14, 3) || '-' || substr(v_random, 17, 4) || '-' || substr(v_random, 21, 12);
end $$;

-- The log that is meant: the one named, or that of the setting `indelible.log`, or the only one there is besides a registry of logs.
create or replace function indelible.outbox_log(p_log text) returns text
language plpgsql stable security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_log text := coalesce(nullif(p_log, ''), nullif(current_setting('indelible.log', true), ''));
    v_count bigint;
begin
    if v_log is null then
        select count(*), min(l.origin) into v_count, v_log from indelible.logs l where l.origin not like '%/registry';
        if v_count <> 1 then
            raise exception 'this database holds % logs: name one as the second argument of indelible.record, by `set indelible.log = …`, or behind `#`', v_count
                using errcode = 'IDO02';
        end if;
    end if;
    if not exists (select from indelible.logs l where l.origin = v_log) then
        raise exception 'this database holds no log `%`: correct the name', v_log using errcode = 'IDO02';
    end if;
    return v_log;
end $$;

-- Records an event in the caller's own transaction and returns its id: it is there if that commits, and not if it does not.
-- The log is the one named, or that of the setting `indelible.log`, or the only one there is.
create or replace function indelible.record(event jsonb, log text default null) returns text
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_log text;
    v_id text := event ->> 'id';
    v_own constant boolean := v_id is not null;
begin
    if jsonb_typeof(event) is distinct from 'object' or event -> 'action' is null or event -> 'actor' is null then
        raise exception 'this is no event: give a JSON object with `action` and `actor`' using errcode = 'IDO01';
    end if;
    if event ? 'control' then
        raise exception 'an event has no member `control`: the log alone speaks in control records' using errcode = 'IDO01';
    end if;
    v_log := indelible.outbox_log(log);
    -- An event with an id of its own is left as it is: sent again, it is the same event.
    if v_id is null then
        v_id := indelible.new_event_id();
        event := event || jsonb_build_object('id', v_id);
    end if;
    if not v_own and event -> 'occurred_at' is null then
        event := event || jsonb_build_object('occurred_at', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'));
    end if;
    insert into indelible.outbox (log, event_id, event) values (v_log, v_id, event::text);
    return v_id;
end $$;

-- Who acts: the setting `indelible.actor` (an id, or a JSON object with `id` and `type`), or whoever is connected.
create or replace function indelible.current_actor() returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    v_actor constant text := nullif(current_setting('indelible.actor', true), '');
begin
    if v_actor is null then
        return jsonb_build_object('id', session_user, 'type', 'database_role');
    end if;
    if v_actor like '{%' then
        return jsonb_strip_nulls(jsonb_build_object('id', coalesce(v_actor::jsonb ->> 'id', session_user),
            'name', v_actor::jsonb ->> 'name', 'type', coalesce(v_actor::jsonb ->> 'type', 'user')));
    end if;
    return jsonb_build_object('id', v_actor, 'type', 'user');
end $$;

-- The trigger of the pack: one event for each row, with the row before and after. Arguments: the log, then names of columns that are left out.
-- It runs with the rights of whoever changes the table, never with ours: rows of the application's own types run the application's own code.
create or replace function indelible.capture() returns trigger
language plpgsql set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_log constant text := nullif(tg_argv[0], '');
    v_left_out constant text[] := tg_argv[1:];
    v_before jsonb;
    v_after jsonb;
    v_key text;
    v_what constant text := lower(tg_op);
begin
    if tg_op in ('UPDATE', 'DELETE') then
        v_before := to_jsonb(old) - v_left_out;
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        v_after := to_jsonb(new) - v_left_out;
    end if;
    select string_agg(coalesce(v_after, v_before) ->> a.attname, '/' order by k.n) into v_key
        from pg_index i cross join unnest(i.indkey::int2[]) with ordinality k(attnum, n)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where i.indrelid = tg_relid and i.indisprimary;
    perform indelible.record(jsonb_strip_nulls(jsonb_build_object(
        'action', 'table.' || v_what,
        'actor', indelible.current_actor(),
        'context', jsonb_build_object('component', nullif(current_setting('application_name', true), ''), 'source_ip', host(inet_client_addr())),
        'kind', 'data_change',
        'outcome', 'success',
        'targets', jsonb_build_array(jsonb_build_object('type', tg_table_schema || '.' || tg_table_name, 'id', coalesce(v_key, tg_table_name)))
    )) || jsonb_build_object(
        'change', jsonb_build_object('after', v_after, 'before', v_before),
        'details', jsonb_build_object('database', current_database(), 'transaction', pg_current_xact_id()::text)
    ), v_log);
    return null;
end $$;

-- TRUNCATE fires no row triggers: one event says how many rows go.
create or replace function indelible.capture_truncate() returns trigger
language plpgsql set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_log constant text := nullif(tg_argv[0], '');
    v_left_out constant text[] := tg_argv[1:];
    v_count bigint;
begin
    if has_table_privilege(tg_relid, 'select') then
        execute format('select count(*) from %I.%I', tg_table_schema, tg_table_name) into v_count;
    end if;
    perform indelible.record(jsonb_build_object(
        'action', 'table.truncate',
        'actor', indelible.current_actor(),
        'details', jsonb_build_object('database', current_database(), 'rows', v_count, 'transaction', pg_current_xact_id()::text),
        'kind', 'data_change',
        'outcome', 'success',
        'targets', jsonb_build_array(jsonb_build_object('type', tg_table_schema || '.' || tg_table_name, 'id', tg_table_name))
    ), v_log);
    return null;
end $$;

-- Puts the triggers on a table. Only who owns the table may; the functions that they call belong to `indelible_owner`.
create or replace function indelible.install_triggers(tracked regclass, log text, left_out text[] default '{}') returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    -- Named once for all: another log that comes later changes nothing.
    v_arguments constant text := (select string_agg(quote_literal(a), ', ') from unnest(array[indelible.outbox_log(log)] || left_out) a);
    v_unknown text;
begin
    select string_agg(name, ', ') into v_unknown from unnest(left_out) name
        where not exists (select from pg_attribute a where a.attrelid = tracked and a.attname = name and a.attnum > 0 and not a.attisdropped);
    if v_unknown is not null then
        raise exception '% has no column %', tracked, v_unknown using errcode = 'IDO01';
    end if;
    perform indelible.remove_triggers(tracked);
    execute format('create trigger indelible_capture after insert or update or delete on %s for each row execute function indelible.capture(%s)', tracked, v_arguments);
    execute format('create trigger indelible_capture_truncate before truncate on %s for each statement execute function indelible.capture_truncate(%s)', tracked, v_arguments);
    execute format('alter table %s enable always trigger indelible_capture', tracked);
    execute format('alter table %s enable always trigger indelible_capture_truncate', tracked);
end $$;

create or replace function indelible.remove_triggers(tracked regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    execute format('drop trigger if exists indelible_capture on %s', tracked);
    execute format('drop trigger if exists indelible_capture_truncate on %s', tracked);
end $$;

-- The oldest events of a log that wait, locked until the relay's transaction ends: another relay takes others.
create or replace function indelible.outbox_take(p_log text, p_count integer, p_bytes bigint)
returns table (o_id bigint, o_event_id text, o_event text, o_written_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    return query
        with waiting as (
            select b.id from indelible.outbox b where b.log = p_log order by b.id limit p_count for update skip locked
        ), sized as (
            select b.id, b.event_id, b.event, b.written_at, sum(octet_length(b.event)) over (order by b.id) - octet_length(b.event) as before
                from indelible.outbox b join waiting w on w.id = b.id
        )
        select s.id, s.event_id, s.event, s.written_at from sized s where s.before < p_bytes order by s.id;
end $$;

-- Takes away what is durable in the log.
create or replace function indelible.outbox_done(p_ids bigint[]) returns bigint
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_count bigint;
begin
    delete from indelible.outbox b where b.id = any (p_ids);
    get diagnostics v_count = row_count;
    return v_count;
end $$;

-- Sets aside what the log refused.
create or replace function indelible.outbox_refuse(p_id bigint, p_reason text) returns void
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    with gone as (delete from indelible.outbox b where b.id = p_id returning *)
    insert into indelible.outbox_refused (id, log, event_id, event, written_at, written_by, reason)
        select g.id, g.log, g.event_id, g.event, g.written_at, g.written_by, p_reason from gone g;
end $$;

-- What waits, for each log: how many, for how many seconds the oldest has been waiting, and how many were refused.
create or replace function indelible.outbox_lag() returns table (o_log text, o_waiting bigint, o_oldest_seconds double precision, o_refused bigint)
language plpgsql stable security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    return query select coalesce(w.log, r.log), coalesce(w.waiting, 0), w.oldest, coalesce(r.refused, 0)
        from (select b.log, count(*) as waiting, extract(epoch from clock_timestamp() - min(b.written_at))::double precision as oldest
            from indelible.outbox b group by b.log) w
        full join (select x.log, count(*) as refused from indelible.outbox_refused x group by x.log) r on r.log = w.log
        order by 1;
end $$;

revoke execute on all functions in schema indelible from public;
grant usage on schema indelible to audit_source, audit_relay;
-- Who makes a trigger needs the right to its function; who fires it does not.
grant execute on function indelible.record, indelible.outbox_log, indelible.new_event_id, indelible.current_actor, indelible.install_triggers, indelible.remove_triggers,
    indelible.capture, indelible.capture_truncate to audit_source;
grant execute on function indelible.outbox_take, indelible.outbox_done, indelible.outbox_refuse, indelible.outbox_lag to audit_relay;
grant execute on function indelible.outbox_lag to audit_reader, audit_writer;
grant select on indelible.outbox_refused to audit_relay, audit_reader;
