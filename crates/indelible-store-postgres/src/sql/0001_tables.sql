-- The tables of schema 1. Everything belongs to `indelible_owner`, who runs this.

create table indelible.logs (
    number bigint generated always as identity primary key,
    origin text not null unique check (octet_length(origin) between 1 and 128),
    log_id bytea not null check (octet_length(log_id) = 16),
    format integer not null check (format > 0),
    created_at timestamptz not null default now()
);

-- Where each log ends. The one row that a turn locks; it only grows.
create table indelible.heads (
    log bigint primary key references indelible.logs,
    size bigint not null default 0 check (size >= 0),
    bytes bigint not null default 0 check (bytes >= 0),
    last_leaf bytea not null check (octet_length(last_leaf) = 32),
    recorded_us bigint,
    unnamed bigint check (unnamed > 0)
) with (fillfactor = 40);

-- How far the stored tree reaches. It only grows, and is locked apart from the head, so that publishing never waits for a turn.
create table indelible.trees (
    log bigint primary key references indelible.logs,
    size bigint not null default 0 check (size >= 0)
) with (fillfactor = 40);

create table indelible.published (
    log bigint primary key references indelible.logs,
    note bytea not null,
    size bigint
) with (fillfactor = 40);

-- The exact bytes of every entry. The partition key has to be in the primary key; that an index stands once is proven by `append_commit`.
create table indelible.entries (
    log bigint not null,
    idx bigint not null check (idx >= 0),
    batch bigint not null,
    recorded_at timestamptz not null,
    entry bytea not null check (octet_length(entry) <= 65535),
    mac bytea not null check (octet_length(mac) = 32),
    primary key (log, idx, recorded_at)
) partition by range (recorded_at);

-- Takes what no month was made for, so that no append fails for want of a partition.
create table indelible.entries_other partition of indelible.entries default;

create table indelible.ids (
    log bigint not null,
    fingerprint bytea not null check (octet_length(fingerprint) = 16),
    idx bigint not null,
    primary key (log, fingerprint, idx)
);

-- Runs of hashes of one level, never across a multiple of 256.
create table indelible.tree_hashes (
    log bigint not null,
    level smallint not null check (level between 0 and 8),
    first bigint not null,
    hashes bytea not null check (octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0),
    primary key (log, level, first)
);
-- Hashes do not compress; stored plainly, a part of a run is read without the rest.
alter table indelible.tree_hashes alter column hashes set storage external;

create table indelible.checkpoints (
    log bigint not null,
    number bigint not null check (number > 0),
    note bytea not null,
    kept_at timestamptz not null default now(),
    primary key (log, number)
);

create table indelible.attachments (
    log bigint not null,
    digest bytea not null check (octet_length(digest) = 32),
    part integer not null check (part >= 0),
    content bytea not null,
    primary key (log, digest, part)
);
alter table indelible.attachments alter column content set storage external;

-- Processes that may have acknowledged events before these were durable, each mark with an end of its own.
create table indelible.bounded (
    log bigint not null,
    owner uuid not null,
    until timestamptz not null,
    primary key (log, owner)
);
