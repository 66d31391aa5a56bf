-- Whose tokens a client may introspect: 0 none, 1 its own, 2 all.
--
-- This engine has no IF NOT EXISTS for columns. If this statement is applied again,
-- it fails and changes nothing; Migrate continues with the next one.
ALTER TABLE tokenauth_clients ADD COLUMN introspection SMALLINT NOT NULL DEFAULT 0;

INSERT IGNORE INTO tokenauth_schema (version) VALUES (4);
