CREATE TABLE IF NOT EXISTS tokenauth_clients (
    id         text NOT NULL PRIMARY KEY,
    secret     bytea, -- a digest; none for a public client
    old_secret bytea, -- still valid until the end of a rotation
    roles      text NOT NULL, -- joined by commas
    disabled   boolean NOT NULL,
    stamp      text NOT NULL, -- changes with the row
    created_at bigint NOT NULL -- Unix seconds
);

INSERT INTO tokenauth_schema (version) VALUES (3) ON CONFLICT DO NOTHING;
