DROP TABLE IF EXISTS tokenauth_counters;

DELETE FROM tokenauth_schema WHERE version = 2;
