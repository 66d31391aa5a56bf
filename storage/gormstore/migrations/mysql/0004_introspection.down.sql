ALTER TABLE tokenauth_clients DROP COLUMN introspection;

DELETE FROM tokenauth_schema WHERE version = 4;
