-- The roles, for the whole cluster. `indelible_owner` owns everything and cannot log in.
do $$
declare
    v_role text;
begin
    foreach v_role in array array['indelible_owner', 'audit_writer', 'audit_reader', 'audit_retention', 'audit_source', 'audit_relay'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
            execute pg_catalog.format('create role %I nologin', v_role);
        end if;
    end loop;
    -- Who migrates acts as the owner for the rest of this transaction. Since PostgreSQL 16 a membership need not allow that.
    if not pg_catalog.pg_has_role(current_user, 'indelible_owner',
            case when pg_catalog.current_setting('server_version_num')::int < 160000 then 'member' else 'set' end) then
        execute pg_catalog.format('grant indelible_owner to %I', current_user);
    end if;
end $$;

-- Who signs checkpoints reads back what it signs.
grant audit_reader to audit_writer;
-- Who empties the outbox appends.
grant audit_writer to audit_relay;
