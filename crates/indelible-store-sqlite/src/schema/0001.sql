-- Schema version 1. Never edited: what comes later is a migration of its own.
-- No guarded table has a rowid beside its key: INSERT OR REPLACE could remove a row by it.
-- signed_audit_log has no foreign key, and its INSERT trigger rolls back instead of aborting: what can abort makes SQLite copy every page that an
-- INSERT touches, which took half the speed.

CREATE TABLE logs (
    number INTEGER PRIMARY KEY,
    origin TEXT NOT NULL UNIQUE,
    log_id BLOB NOT NULL CHECK (length(log_id) = 16),
    format INTEGER NOT NULL,
    created INTEGER NOT NULL, -- microseconds since 1970-01-01T00:00:00Z, as all times here
    size INTEGER NOT NULL CHECK (size >= 0), -- entries
    bytes INTEGER NOT NULL CHECK (bytes >= 0), -- of their lines
    last_leaf BLOB NOT NULL CHECK (length(last_leaf) = 32),
    last_recorded_at INTEGER,
    named INTEGER NOT NULL CHECK (named >= 0), -- the newest kept checkpoint that an entry names
    checkpoint BLOB, -- the published one
    checkpoint_size INTEGER -- NULL where it is no checkpoint
) STRICT;

CREATE TABLE signed_audit_log (
    log INTEGER NOT NULL,
    idx INTEGER NOT NULL CHECK (idx >= 0),
    batch INTEGER NOT NULL, -- idx of the first entry that became durable together with this one
    recorded_at INTEGER NOT NULL,
    entry BLOB NOT NULL, -- the exact bytes that are hashed and signed: JSON
    mac BLOB NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (log, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE ids (
    log INTEGER NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 16),
    idx INTEGER NOT NULL,
    PRIMARY KEY (log, fingerprint, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE tree_hashes (
    log INTEGER NOT NULL REFERENCES logs (number),
    level INTEGER NOT NULL, -- roots of the complete subtrees of 256^level leaves
    first INTEGER NOT NULL, -- number of the first hash of this run
    hashes BLOB NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) > 0),
    PRIMARY KEY (log, level, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    log INTEGER NOT NULL REFERENCES logs (number),
    number INTEGER NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (log, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE attachments (
    digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE attachment_parts (
    digest BLOB NOT NULL REFERENCES attachments (digest),
    part INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (digest, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE aside (
    number INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    moved INTEGER NOT NULL,
    source TEXT NOT NULL, -- the table, and the key there
    content BLOB
) STRICT;

CREATE TABLE bounded_marks (
    log INTEGER NOT NULL REFERENCES logs (number),
    writer TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (log, writer)
) STRICT;

CREATE TRIGGER signed_audit_log_no_update BEFORE UPDATE ON signed_audit_log
BEGIN
    SELECT RAISE(ABORT, 'signed_audit_log is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER signed_audit_log_no_delete BEFORE DELETE ON signed_audit_log
BEGIN
    SELECT RAISE(ABORT, 'signed_audit_log is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER signed_audit_log_no_replace BEFORE INSERT ON signed_audit_log
WHEN EXISTS (SELECT 1 FROM signed_audit_log WHERE log = NEW.log AND idx = NEW.idx)
BEGIN
    SELECT RAISE(ROLLBACK, 'signed_audit_log has this row already: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER tree_hashes_no_update BEFORE UPDATE ON tree_hashes
BEGIN
    SELECT RAISE(ABORT, 'tree_hashes is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER tree_hashes_no_delete BEFORE DELETE ON tree_hashes
BEGIN
    SELECT RAISE(ABORT, 'tree_hashes is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER tree_hashes_no_replace BEFORE INSERT ON tree_hashes
WHEN EXISTS (SELECT 1 FROM tree_hashes WHERE log = NEW.log AND level = NEW.level AND first = NEW.first)
BEGIN
    SELECT RAISE(ABORT, 'tree_hashes has this row already: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints
BEGIN
    SELECT RAISE(ABORT, 'checkpoints is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints
BEGIN
    SELECT RAISE(ABORT, 'checkpoints is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER checkpoints_no_replace BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE log = NEW.log AND number = NEW.number)
BEGIN
    SELECT RAISE(ABORT, 'checkpoints has this row already: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER attachments_no_update BEFORE UPDATE ON attachments
BEGIN
    SELECT RAISE(ABORT, 'attachments is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER attachments_no_delete BEFORE DELETE ON attachments
BEGIN
    SELECT RAISE(ABORT, 'attachments is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER attachments_no_replace BEFORE INSERT ON attachments
WHEN EXISTS (SELECT 1 FROM attachments WHERE digest = NEW.digest)
BEGIN
    SELECT RAISE(ABORT, 'attachments has this row already: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER attachment_parts_no_update BEFORE UPDATE ON attachment_parts
BEGIN
    SELECT RAISE(ABORT, 'attachment_parts is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER attachment_parts_no_delete BEFORE DELETE ON attachment_parts
BEGIN
    SELECT RAISE(ABORT, 'attachment_parts is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER attachment_parts_no_replace BEFORE INSERT ON attachment_parts
WHEN EXISTS (SELECT 1 FROM attachment_parts WHERE digest = NEW.digest AND part = NEW.part)
BEGIN
    SELECT RAISE(ABORT, 'attachment_parts has this row already: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER aside_no_update BEFORE UPDATE ON aside
BEGIN
    SELECT RAISE(ABORT, 'aside is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER aside_no_delete BEFORE DELETE ON aside
BEGIN
    SELECT RAISE(ABORT, 'aside is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER aside_no_replace BEFORE INSERT ON aside
WHEN EXISTS (SELECT 1 FROM aside WHERE number = NEW.number)
BEGIN
    SELECT RAISE(ABORT, 'aside has this row already: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER ids_no_update BEFORE UPDATE ON ids
BEGIN
    SELECT RAISE(ABORT, 'ids is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER ids_no_delete BEFORE DELETE ON ids
BEGIN
    SELECT RAISE(ABORT, 'ids is insert-only: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER logs_no_delete BEFORE DELETE ON logs
BEGIN
    SELECT RAISE(ABORT, 'a log is never removed: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER logs_no_replace BEFORE INSERT ON logs
WHEN EXISTS (SELECT 1 FROM logs WHERE number = NEW.number OR origin = NEW.origin)
BEGIN
    SELECT RAISE(ABORT, 'this log is there already: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;

CREATE TRIGGER logs_only_forward BEFORE UPDATE ON logs
WHEN NEW.number IS NOT OLD.number
    OR NEW.origin IS NOT OLD.origin
    OR NEW.log_id IS NOT OLD.log_id
    OR NEW.format IS NOT OLD.format
    OR NEW.created IS NOT OLD.created
    OR NEW.size < OLD.size
    OR NEW.bytes < OLD.bytes
    OR NEW.named < OLD.named
    OR NEW.checkpoint_size < OLD.checkpoint_size
    OR (NEW.checkpoint IS NULL AND OLD.checkpoint IS NOT NULL)
    OR (NEW.size = OLD.size AND (
        NEW.bytes IS NOT OLD.bytes
        OR NEW.last_leaf IS NOT OLD.last_leaf
        OR NEW.last_recorded_at IS NOT OLD.last_recorded_at))
    OR (NEW.size > OLD.size
        AND NOT EXISTS (SELECT 1 FROM signed_audit_log WHERE log = NEW.number AND idx = NEW.size - 1))
BEGIN
    SELECT RAISE(ABORT, 'the head of a log only moves forward with its entries: what was recorded is never changed or removed (`indelible verify` tells of changes that were made by other ways)');
END;
