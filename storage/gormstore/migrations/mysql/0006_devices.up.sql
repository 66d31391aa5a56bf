-- Devices, the milliseconds of issued_at (0 to 999), and for how many seconds each use
-- extends the token (0 if it does not). An earlier version of the service leaves these
-- columns as they are.
--
-- This engine has no IF NOT EXISTS for columns. If one of these statements is applied
-- again, it fails and changes nothing; Migrate continues with the next one.
ALTER TABLE tokenauth_tokens
    ADD COLUMN device      VARBINARY(64)  NOT NULL DEFAULT '',
    ADD COLUMN device_name VARBINARY(128) NOT NULL DEFAULT '',
    ADD COLUMN issued_ms   SMALLINT       NOT NULL DEFAULT 0,
    ADD COLUMN lifetime    BIGINT         NOT NULL DEFAULT 0;

-- How long tokens of the client are valid, in seconds; 0 means the service's default.
ALTER TABLE tokenauth_clients ADD COLUMN lifetime BIGINT NOT NULL DEFAULT 0;

-- When tokens were last used. A row counts only while the slot holds the token with the
-- row's digest.
CREATE TABLE IF NOT EXISTS tokenauth_uses (
    user_key   BINARY(16) NOT NULL,
    client_key BINARY(16) NOT NULL,
    digest     BINARY(32) NOT NULL,
    used_at    BIGINT     NOT NULL, -- Unix seconds
    PRIMARY KEY (user_key, client_key)
) ENGINE = InnoDB;

INSERT IGNORE INTO tokenauth_schema (version) VALUES (6);
