-- Counters of failed sign-ins, for replicas that count together. Their keys are
-- keyed hashes. Times are Unix milliseconds.
CREATE TABLE IF NOT EXISTS tokenauth_counters (
    counter_key  BINARY(16) NOT NULL PRIMARY KEY,
    failures     BIGINT NOT NULL,
    failed_at    BIGINT NOT NULL,
    pending      BIGINT NOT NULL,
    pending_at   BIGINT NOT NULL,
    succeeded_at BIGINT NOT NULL,
    forget_at    BIGINT NOT NULL -- when the row may be deleted
) ENGINE = InnoDB;

INSERT IGNORE INTO tokenauth_schema (version) VALUES (2);
