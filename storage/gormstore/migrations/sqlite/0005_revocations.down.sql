DROP TABLE IF EXISTS tokenauth_revocations;

DELETE FROM tokenauth_schema WHERE version = 5;
