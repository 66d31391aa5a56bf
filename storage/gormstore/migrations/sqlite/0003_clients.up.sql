CREATE TABLE IF NOT EXISTS tokenauth_clients (
    id         TEXT NOT NULL PRIMARY KEY,
    secret     BLOB, -- a digest; none for a public client
    old_secret BLOB, -- still valid until the end of a rotation
    roles      TEXT NOT NULL, -- joined by commas
    disabled   INTEGER NOT NULL,
    stamp      TEXT NOT NULL, -- changes with the row
    created_at INTEGER NOT NULL -- Unix seconds
);

INSERT INTO tokenauth_schema (version) VALUES (3) ON CONFLICT DO NOTHING;
