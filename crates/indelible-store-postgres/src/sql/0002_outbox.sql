-- The outbox of schema 2: events that an application records in a transaction of its own, until the relay has put them into a log.

create table indelible.outbox (
    id bigint generated always as identity primary key,
    log text not null,
    event_id text not null,
    event text not null,
    written_at timestamptz not null default clock_timestamp(),
    written_by text not null default session_user
);

-- What the log refused, with the reason. It is looked at by people; the log has an entry that says so.
create table indelible.outbox_refused (
    id bigint primary key,
    log text not null,
    event_id text not null,
    event text not null,
    written_at timestamptz not null,
    written_by text not null,
    reason text not null,
    refused_at timestamptz not null default clock_timestamp()
);
