DROP TABLE IF EXISTS tokenauth_clients;

DELETE FROM tokenauth_schema WHERE version = 3;
