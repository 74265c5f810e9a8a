-- What refuses change, and what puts that on a table. Run again by every migration, so that a guard that was taken away is put back.

create or replace function indelible.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% on %.% is refused: what an audit log has recorded is not changed or removed',
        tg_op, tg_table_schema, tg_table_name using errcode = 'IDW01';
end $$;

create or replace function indelible.refuse_shrinking() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' and new.log = old.log and new.size >= old.size then
        return new;
    end if;
    raise exception '% on %.% is refused: the end of an audit log only moves forward',
        tg_op, tg_table_schema, tg_table_name using errcode = 'IDW01';
end $$;

-- Deleting alone is refused: a published checkpoint is replaced by the next.
create or replace function indelible.refuse_removal() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'UPDATE' and new.log = old.log then
        return new;
    end if;
    raise exception '% on %.% is refused: a published checkpoint is replaced, never removed',
        tg_op, tg_table_schema, tg_table_name using errcode = 'IDW01';
end $$;

-- Nobody edits what waits in the outbox, and only the relay's doors take it away.
create or replace function indelible.refuse_edit() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'DELETE' and current_user = 'indelible_owner' then
        return old;
    end if;
    raise exception '% on %.% is refused: what was recorded waits for the relay, unchanged',
        tg_op, tg_table_schema, tg_table_name using errcode = 'IDW01';
end $$;

-- Puts the guards of one table in place; `always`: they hold under session_replication_role as well.
create or replace function indelible.guard(p_table regclass, p_row_guard text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    -- A partition has its row trigger from the table that it belongs to.
    if not (select relispartition from pg_class where oid = p_table) then
        execute format('drop trigger if exists refuse_change on %s', p_table);
        execute format('create trigger refuse_change before update or delete on %s for each row execute function indelible.%I()', p_table, p_row_guard);
    end if;
    execute format('drop trigger if exists refuse_truncate on %s', p_table);
    execute format('create trigger refuse_truncate before truncate on %s for each statement execute function indelible.refuse_change()', p_table);
    execute format('alter table %s enable always trigger refuse_change', p_table);
    execute format('alter table %s enable always trigger refuse_truncate', p_table);
end $$;
