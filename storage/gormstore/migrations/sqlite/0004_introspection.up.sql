-- Whose tokens a client may introspect: 0 none, 1 its own, 2 all.
--
-- There is no IF NOT EXISTS for columns here. Applied again, this statement
-- fails and changes nothing; Migrate goes on with the next one then.
ALTER TABLE tokenauth_clients ADD COLUMN introspection INTEGER NOT NULL DEFAULT 0;

INSERT INTO tokenauth_schema (version) VALUES (4) ON CONFLICT DO NOTHING;
