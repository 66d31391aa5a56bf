-- Without the column device, the tokens of a client's devices could not be revoked with
-- the client. So they end here.
DELETE FROM tokenauth_tokens WHERE device <> '';

ALTER TABLE tokenauth_tokens
    DROP COLUMN device,
    DROP COLUMN device_name,
    DROP COLUMN issued_ms,
    DROP COLUMN lifetime;

ALTER TABLE tokenauth_clients DROP COLUMN lifetime;

DROP TABLE IF EXISTS tokenauth_uses;

DELETE FROM tokenauth_schema WHERE version = 6;
