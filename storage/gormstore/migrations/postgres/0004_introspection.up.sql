-- Whose tokens a client may introspect: 0 none, 1 its own, 2 all.
ALTER TABLE tokenauth_clients ADD COLUMN IF NOT EXISTS introspection smallint NOT NULL DEFAULT 0;

INSERT INTO tokenauth_schema (version) VALUES (4) ON CONFLICT DO NOTHING;
