-- What of a log was pruned, of schema 4: ranges of entries whose bodies may be taken away, each with the entry that says so. Rows are only added, by `prune`.
-- Nothing rests on them: a reader believes a range only where the entry that it names says the same.

create table indelible.pruned (
    log bigint not null references indelible.logs,
    record bigint not null,
    first bigint not null check (first > 0),
    last bigint not null check (last >= first),
    pruned_at timestamptz not null default now(),
    primary key (log, record),
    check (last < record)
);
