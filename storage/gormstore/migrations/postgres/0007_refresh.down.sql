-- Refresh tokens end here. Access tokens stay valid until they expire.
ALTER TABLE tokenauth_tokens
    DROP COLUMN IF EXISTS refresh,
    DROP COLUMN IF EXISTS refresh_expires_at;

DELETE FROM tokenauth_schema WHERE version = 7;
