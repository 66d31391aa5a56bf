-- Counters of failed sign-ins, for replicas that count together. Their keys are
-- keyed hashes. Times are Unix milliseconds.
CREATE TABLE IF NOT EXISTS tokenauth_counters (
    counter_key  bytea NOT NULL PRIMARY KEY,
    failures     bigint NOT NULL,
    failed_at    bigint NOT NULL,
    pending      bigint NOT NULL,
    pending_at   bigint NOT NULL,
    succeeded_at bigint NOT NULL,
    forget_at    bigint NOT NULL -- when the row may be deleted
);

INSERT INTO tokenauth_schema (version) VALUES (2) ON CONFLICT DO NOTHING;
