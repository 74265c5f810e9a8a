-- Schema version 2. Never edited: what comes later is a migration of its own.

ALTER TABLE logs ADD COLUMN keys INTEGER NOT NULL DEFAULT 0 CHECK (keys >= 0); -- idx of the newest entry that says what the log's keys are

CREATE TRIGGER logs_keys_forward BEFORE UPDATE ON logs
WHEN NEW.keys < OLD.keys OR NEW.keys >= max(NEW.size, 1)
BEGIN
    SELECT RAISE(ABORT, 'the row of a log only moves forward, and only to where its entries are (`indelible verify` tells of changes that were made by other ways)');
END;
