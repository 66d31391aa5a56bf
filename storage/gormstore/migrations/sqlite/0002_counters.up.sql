-- Counters of failed sign-ins, for replicas that count together. Their keys are
-- keyed hashes. Times are Unix milliseconds.
CREATE TABLE IF NOT EXISTS tokenauth_counters (
    counter_key  BLOB NOT NULL PRIMARY KEY,
    failures     INTEGER NOT NULL,
    failed_at    INTEGER NOT NULL,
    pending      INTEGER NOT NULL,
    pending_at   INTEGER NOT NULL,
    succeeded_at INTEGER NOT NULL,
    forget_at    INTEGER NOT NULL -- when the row may be deleted
) WITHOUT ROWID;

INSERT INTO tokenauth_schema (version) VALUES (2) ON CONFLICT DO NOTHING;
