-- The refresh token that was issued with a token, and when it expires, in Unix seconds.
-- A row without one has NULL and 0. An earlier version of the service leaves these
-- columns as they are; the refresh token then no longer counts.
ALTER TABLE tokenauth_tokens
    ADD COLUMN IF NOT EXISTS refresh            bytea,
    ADD COLUMN IF NOT EXISTS refresh_expires_at bigint NOT NULL DEFAULT 0;

INSERT INTO tokenauth_schema (version) VALUES (7) ON CONFLICT DO NOTHING;
