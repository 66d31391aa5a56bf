ALTER TABLE tokenauth_clients DROP COLUMN IF EXISTS introspection;

DELETE FROM tokenauth_schema WHERE version = 4;
