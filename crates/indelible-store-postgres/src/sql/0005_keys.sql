-- Where a log says what its keys are, of schema 5: the index of the newest such entry, moved in the transaction that writes it.

alter table indelible.heads add column keys bigint not null default 0 check (keys >= 0);

-- Made again with what is new, by the same migration.
drop function if exists indelible.append_begin(bigint);
drop function if exists indelible.append_commit(bigint, bigint, bigint, bigint, bigint, bytea, bigint, bytea[], bytea[], bytea[]);
