-- What auditors search by, of schema 3: a row for each entry, derived from its bytes alone, written behind the appends by `index_entries`.
-- Run again by every migration, for what is derived may be dropped: it comes back empty, and is filled from the beginning.

create table if not exists indelible.search (
    log bigint not null,
    idx bigint not null,
    recorded_at timestamptz not null,
    occurred_at timestamptz,
    -- False where this row says less than its entry: it is to be looked at by itself.
    whole boolean not null,
    -- The type of a control record; null for an event, which has the columns behind it.
    control text,
    action text,
    kind text,
    outcome text,
    severity text,
    tenant text,
    actor_type text,
    actor_id text,
    on_behalf_of text[],
    target_types text[],
    target_ids text[],
    subjects text[],
    tags text[],
    source_ip text,
    request_id text,
    event_id text,
    primary key (log, idx)
);
create index if not exists search_action on indelible.search (log, action, idx);
create index if not exists search_actor on indelible.search (log, actor_id, idx);
create index if not exists search_time on indelible.search (log, recorded_at, idx);
create index if not exists search_source on indelible.search (log, source_ip, idx) where source_ip is not null;
create index if not exists search_tenant on indelible.search (log, tenant, idx) where tenant is not null;
create index if not exists search_names on indelible.search using gin (target_ids, subjects, on_behalf_of, tags);

-- How many entries of each log have been indexed. The row that an indexer locks.
create table if not exists indelible.search_ends (
    log bigint primary key references indelible.logs,
    size bigint not null default 0 check (size >= 0)
) with (fillfactor = 40);
