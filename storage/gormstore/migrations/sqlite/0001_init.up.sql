CREATE TABLE IF NOT EXISTS tokenauth_tokens (
    user_key   BLOB    NOT NULL,
    client_key BLOB    NOT NULL,
    format     INTEGER NOT NULL,
    digest     BLOB    NOT NULL,
    replaced   BLOB,
    issued_at  INTEGER NOT NULL, -- Unix seconds
    expires_at INTEGER NOT NULL,
    client_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    user_name  TEXT    NOT NULL,
    roles      TEXT    NOT NULL, -- joined by commas
    attributes TEXT    NOT NULL, -- JSON
    stamp      TEXT    NOT NULL,
    PRIMARY KEY (user_key, client_key)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tokenauth_users (
    id            TEXT    NOT NULL PRIMARY KEY, -- UUID
    name_key      TEXT    NOT NULL UNIQUE,      -- the name, normalised
    name          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    roles         TEXT    NOT NULL, -- joined by commas
    attributes    TEXT    NOT NULL, -- JSON
    disabled      INTEGER NOT NULL,
    stamp         TEXT    NOT NULL,
    created_at    INTEGER NOT NULL  -- Unix seconds
);

CREATE TABLE IF NOT EXISTS tokenauth_schema (
    version INTEGER NOT NULL PRIMARY KEY
);

INSERT INTO tokenauth_schema (version) VALUES (1) ON CONFLICT DO NOTHING;
