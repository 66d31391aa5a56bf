-- Devices, the milliseconds of issued_at (0 to 999), and for how many seconds each use
-- extends the token (0 if it does not). An earlier version of the service leaves these
-- columns as they are.
ALTER TABLE tokenauth_tokens
    ADD COLUMN IF NOT EXISTS device      text     NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS device_name text     NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS issued_ms   smallint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS lifetime    bigint   NOT NULL DEFAULT 0;

-- How long tokens of the client are valid, in seconds; 0 means the service's default.
ALTER TABLE tokenauth_clients ADD COLUMN IF NOT EXISTS lifetime bigint NOT NULL DEFAULT 0;

-- When tokens were last used. A row counts only while the slot holds the token with the
-- row's digest. The indexed columns never change, and a quarter of each page is left
-- free, so that a new time is a heap-only tuple (HOT) update.
CREATE TABLE IF NOT EXISTS tokenauth_uses (
    user_key   bytea  NOT NULL,
    client_key bytea  NOT NULL,
    digest     bytea  NOT NULL,
    used_at    bigint NOT NULL, -- Unix seconds
    PRIMARY KEY (user_key, client_key)
) WITH (fillfactor = 75);

INSERT INTO tokenauth_schema (version) VALUES (6) ON CONFLICT DO NOTHING;
