-- The doors of the writer role: all that may be written is written by these, as `indelible_owner`. Run again by every migration.
-- Errors of their own: IDN01 no such log, IDT01 out of turn, IDE01 the rows contradict the head, IDX01 the log exists.

create or replace function indelible.create_log(p_origin text, p_log_id bytea, p_format integer, p_first_leaf bytea) returns bigint
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_log bigint;
begin
    insert into indelible.logs (origin, log_id, format) values (p_origin, p_log_id, p_format)
        on conflict (origin) do nothing returning number into v_log;
    if v_log is null then
        -- Asked again after a lost answer, it was made by the first asking.
        select l.number into v_log from indelible.logs l where l.origin = p_origin and l.log_id = p_log_id;
        if v_log is null then
            raise exception 'a log `%` exists already', p_origin using errcode = 'IDX01';
        end if;
        return v_log;
    end if;
    insert into indelible.heads (log, last_leaf) values (v_log, p_first_leaf);
    insert into indelible.trees (log) values (v_log);
    return v_log;
end $$;

-- Takes a log's turn: the head row stays locked until the transaction ends.
create or replace function indelible.append_begin(p_log bigint, out o_size bigint, out o_last_leaf bytea, out o_recorded_us bigint, out o_unnamed bigint, out o_keys bigint)
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'a turn needs READ COMMITTED, this transaction is %', upper(current_setting('transaction_isolation')) using errcode = 'IDT01';
    end if;
    select h.size, h.last_leaf, h.recorded_us, h.unnamed, h.keys into o_size, o_last_leaf, o_recorded_us, o_unnamed, o_keys
        from indelible.heads h where h.log = p_log for update;
    if not found then
        raise exception 'there is no log with number %', p_log using errcode = 'IDN01';
    end if;
    if o_size > 0 and not exists (select from indelible.entries e where e.log = p_log and e.idx = o_size - 1
            and e.recorded_at = timestamptz 'epoch' + o_recorded_us * interval '1 microsecond') then
        raise exception 'the head says % entries, and entry % is not there', o_size, o_size - 1 using errcode = 'IDE01';
    end if;
end $$;

-- Writes rows behind the end of a log and moves its head by as many, or fails. A batch may come in several parts of one transaction.
-- The rows come as arguments, so nobody but this function needs the right to insert: there is no way to a row that the head does not count.
create or replace function indelible.append_commit(p_log bigint, p_first bigint, p_batch bigint, p_recorded_us bigint, p_bytes bigint,
    p_last_leaf bytea, p_names bigint, p_entries bytea[], p_macs bytea[], p_ids bytea[], p_keys bigint default null) returns bigint
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_head indelible.heads;
    v_count constant bigint := cardinality(p_entries);
    v_at constant timestamptz := timestamptz 'epoch' + p_recorded_us * interval '1 microsecond';
    v_since timestamptz;
    v_written bigint;
begin
    select * into v_head from indelible.heads h where h.log = p_log for update;
    if not found then
        raise exception 'there is no log with number %', p_log using errcode = 'IDN01';
    end if;
    if v_head.size is distinct from p_first then
        raise exception 'log % ends with % entries: a batch that begins at % is out of turn', p_log, v_head.size, p_first using errcode = 'IDT01';
    end if;
    if not coalesce(v_count > 0 and cardinality(p_macs) = v_count and cardinality(p_ids) = v_count and p_batch between 0 and p_first
            and p_bytes > 0 and v_at is not null and (p_keys is null or p_keys >= p_first and p_keys < p_first + v_count), false) then
        raise exception 'the batch is not one entry, one signature and one id for each index' using errcode = 'IDT01';
    end if;
    -- Earlier months cannot hold rows behind this end, unless somebody put them there: verification reads all months.
    v_since := least(v_at, timestamptz 'epoch' + v_head.recorded_us * interval '1 microsecond');
    if exists (select from indelible.entries e where e.log = p_log and e.idx >= p_first and e.recorded_at >= v_since) then
        raise exception 'rows stand behind the end of log % at %', p_log, p_first using errcode = 'IDE01';
    end if;
    insert into indelible.entries (log, idx, batch, recorded_at, entry, mac)
        select p_log, p_first + u.n - 1, p_batch, v_at, u.entry, u.mac from unnest(p_entries, p_macs) with ordinality u(entry, mac, n);
    get diagnostics v_written = row_count;
    if v_written <> v_count then
        raise exception '% of % rows were written', v_written, v_count using errcode = 'IDE01';
    end if;
    insert into indelible.ids (log, fingerprint, idx)
        select p_log, u.id, p_first + u.n - 1 from unnest(p_ids) with ordinality u(id, n) where u.id is not null;
    update indelible.heads h set size = p_first + v_count, bytes = h.bytes + p_bytes, last_leaf = p_last_leaf, recorded_us = p_recorded_us,
        unnamed = nullif(h.unnamed, p_names), keys = coalesce(p_keys, h.keys) where h.log = p_log;
    return p_first + v_count;
end $$;

-- Adds runs of hashes to a stored tree of `p_expected` leaves; false where it has another size.
create or replace function indelible.extend_tree(p_log bigint, p_expected bigint, p_size bigint, p_levels smallint[], p_firsts bigint[], p_hashes bytea[]) returns boolean
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_size bigint;
begin
    select t.size into v_size from indelible.trees t where t.log = p_log for update;
    if not found then
        raise exception 'there is no log with number %', p_log using errcode = 'IDN01';
    end if;
    if v_size is distinct from p_expected then
        return false;
    end if;
    if not coalesce(p_size > p_expected and p_size <= (select h.size from indelible.heads h where h.log = p_log) and p_size - p_expected =
            (select sum(octet_length(u.hashes)) / 32 from unnest(p_levels, p_hashes) u(level, hashes) where u.level = 0), false) then
        raise exception 'the tree of log % cannot grow from % to % leaves by these hashes', p_log, p_expected, p_size using errcode = 'IDT01';
    end if;
    insert into indelible.tree_hashes (log, level, first, hashes)
        select p_log, u.level, u.first, u.hashes from unnest(p_levels, p_firsts, p_hashes) u(level, first, hashes);
    update indelible.trees set size = p_size where log = p_log;
    return true;
end $$;

-- Shows a checkpoint, unless one of a larger tree is shown; with a number it is kept as well, and is then to be named by an entry.
create or replace function indelible.publish(p_log bigint, p_note bytea, p_size bigint, p_keep bigint) returns void
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_end constant bigint := (select h.size from indelible.heads h where h.log = p_log);
begin
    -- Sent again after a failover, to a database that lacks what it covers.
    if p_size > v_end then
        raise exception 'the checkpoint covers % entries, and log % ends with %: it was rolled back', p_size, p_log, v_end using errcode = 'IDE01';
    end if;
    if p_keep is not null then
        if p_keep > 1 + (select coalesce(max(c.number), 0) from indelible.checkpoints c where c.log = p_log) then
            raise exception 'checkpoint % is not the next to be kept', p_keep using errcode = 'IDE01';
        end if;
        insert into indelible.checkpoints (log, number, note) values (p_log, p_keep, p_note) on conflict do nothing;
        if found then
            update indelible.heads set unnamed = p_keep where log = p_log;
        elsif (select c.note from indelible.checkpoints c where c.log = p_log and c.number = p_keep) <> p_note then
            raise exception 'another checkpoint is kept under number %', p_keep using errcode = 'IDE01';
        end if;
    end if;
    insert into indelible.published as p (log, note, size) values (p_log, p_note, p_size)
        on conflict (log) do update set note = excluded.note, size = excluded.size
        where excluded.size is null or p.size is null or p.size <= excluded.size;
end $$;

create or replace function indelible.put_attachment(p_log bigint, p_digest bytea, p_part integer, p_content bytea) returns void
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    -- Part 0 comes last: where it is, the attachment is whole, and nothing is added to it.
    if exists (select from indelible.attachments a where a.log = p_log and a.digest = p_digest and a.part = 0) then
        return;
    end if;
    insert into indelible.attachments (log, digest, part, content) values (p_log, p_digest, p_part, p_content) on conflict do nothing;
end $$;

-- Marks that have run out were left by processes that died; who opens the log takes them over and says so in it.
create or replace function indelible.adopt_marks(p_log bigint, p_owner uuid, p_seconds double precision) returns boolean
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    delete from indelible.bounded b where b.log = p_log and b.until <= clock_timestamp();
    if found then
        perform indelible.mark_bounded(p_log, p_owner, p_seconds);
    end if;
    -- Asked a second time, because the answer was lost with its connection, it says the same.
    return exists (select from indelible.bounded b where b.log = p_log and b.owner = p_owner);
end $$;

-- For who renews beside the one who clears: what was cleared stays away.
create or replace function indelible.renew_mark(p_log bigint, p_owner uuid, p_seconds double precision) returns boolean
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    update indelible.bounded b set until = clock_timestamp() + p_seconds * interval '1 second' where b.log = p_log and b.owner = p_owner;
    return found;
end $$;

create or replace function indelible.mark_bounded(p_log bigint, p_owner uuid, p_seconds double precision) returns void
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    insert into indelible.bounded (log, owner, until) values (p_log, p_owner, clock_timestamp() + p_seconds * interval '1 second')
        on conflict (log, owner) do update set until = excluded.until;
end $$;

create or replace function indelible.clear_marks(p_log bigint, p_owner uuid) returns void
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
begin
    delete from indelible.bounded b where b.log = p_log and b.owner = p_owner;
end $$;

-- Makes the partitions of this month (UTC) and of the next ones. A month whose rows stand in `entries_other` already stays there.
create or replace function indelible.prepare_partitions(p_ahead integer) returns integer
language plpgsql security definer set search_path = pg_catalog, indelible, pg_temp as $$
declare
    v_month timestamp;
    v_name text;
    v_made integer := 0;
begin
    for n in 0 .. least(p_ahead, 24) loop
        v_month := date_trunc('month', now() at time zone 'UTC') + make_interval(months => n);
        v_name := 'entries_' || to_char(v_month, 'YYYY_MM');
        continue when to_regclass('indelible.' || v_name) is not null;
        perform pg_advisory_xact_lock(hashtext('indelible.prepare_partitions'));
        -- Who had the lock before may have made it. `to_regclass` answers from a cache that this lock does not refresh; a query sees what is committed.
        continue when exists (select from pg_class c where c.relname = v_name and c.relnamespace = 'indelible'::regnamespace);
        begin
            execute format('create table indelible.%I (like indelible.entries including constraints including storage)', v_name);
            execute format('alter table indelible.entries attach partition indelible.%I for values from (%L) to (%L)', v_name,
                v_month at time zone 'UTC', (v_month + interval '1 month') at time zone 'UTC');
            perform indelible.guard(format('indelible.%I', v_name)::regclass, 'refuse_change');
            v_made := v_made + 1;
        exception when check_violation then
            null;
        end;
    end loop;
    return v_made;
end $$;

revoke execute on all functions in schema indelible from public;
grant usage on schema indelible to audit_reader, audit_writer, audit_retention;
grant select on indelible.logs, indelible.heads, indelible.trees, indelible.published, indelible.entries, indelible.ids, indelible.tree_hashes,
    indelible.checkpoints, indelible.attachments, indelible.bounded, indelible.schema_migrations to audit_reader;
grant execute on function indelible.create_log, indelible.append_begin, indelible.append_commit, indelible.extend_tree, indelible.publish,
    indelible.put_attachment, indelible.adopt_marks, indelible.mark_bounded, indelible.renew_mark, indelible.clear_marks, indelible.prepare_partitions to audit_writer;
