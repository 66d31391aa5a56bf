-- Without the column device, the tokens of a client's devices could not be revoked with
-- the client. So they end here.
DELETE FROM tokenauth_tokens WHERE device <> '';

ALTER TABLE tokenauth_tokens
    DROP COLUMN IF EXISTS device,
    DROP COLUMN IF EXISTS device_name,
    DROP COLUMN IF EXISTS issued_ms,
    DROP COLUMN IF EXISTS lifetime;

ALTER TABLE tokenauth_clients DROP COLUMN IF EXISTS lifetime;

DROP TABLE IF EXISTS tokenauth_uses;

DELETE FROM tokenauth_schema WHERE version = 6;
