-- Devices, the milliseconds of issued_at (0 to 999), and for how many seconds each use
-- extends the token (0 if it does not). An earlier version of the service leaves these
-- columns as they are.
--
-- This engine has no IF NOT EXISTS for columns. If one of these statements is applied
-- again, it fails and changes nothing; Migrate continues with the next one.
ALTER TABLE tokenauth_tokens ADD COLUMN device TEXT NOT NULL DEFAULT '';

ALTER TABLE tokenauth_tokens ADD COLUMN device_name TEXT NOT NULL DEFAULT '';

ALTER TABLE tokenauth_tokens ADD COLUMN issued_ms INTEGER NOT NULL DEFAULT 0;

ALTER TABLE tokenauth_tokens ADD COLUMN lifetime INTEGER NOT NULL DEFAULT 0;

-- How long tokens of the client are valid, in seconds; 0 means the service's default.
ALTER TABLE tokenauth_clients ADD COLUMN lifetime INTEGER NOT NULL DEFAULT 0;

-- When tokens were last used. A row counts only while the slot holds the token with the
-- row's digest.
CREATE TABLE IF NOT EXISTS tokenauth_uses (
    user_key   BLOB    NOT NULL,
    client_key BLOB    NOT NULL,
    digest     BLOB    NOT NULL,
    used_at    INTEGER NOT NULL, -- Unix seconds
    PRIMARY KEY (user_key, client_key)
) WITHOUT ROWID;

INSERT INTO tokenauth_schema (version) VALUES (6) ON CONFLICT DO NOTHING;
