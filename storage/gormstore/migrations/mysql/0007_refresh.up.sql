-- The refresh token that was issued with a token, and when it expires, in Unix seconds.
-- A row without one has NULL and 0. An earlier version of the service leaves these
-- columns as they are; the refresh token then no longer counts.
--
-- This engine has no IF NOT EXISTS for columns. If one of these statements is applied
-- again, it fails and changes nothing; Migrate continues with the next one.
ALTER TABLE tokenauth_tokens
    ADD COLUMN refresh            VARBINARY(512),
    ADD COLUMN refresh_expires_at BIGINT NOT NULL DEFAULT 0;

INSERT IGNORE INTO tokenauth_schema (version) VALUES (7);
