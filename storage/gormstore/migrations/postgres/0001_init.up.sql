-- The primary keys are the only indexes that a sign-in could touch, and their
-- columns never change. With a quarter of each page left free, a repeated
-- sign-in is then a heap-only tuple (HOT) update, which leaves no dead index
-- entries for vacuum.
CREATE TABLE IF NOT EXISTS tokenauth_tokens (
    user_key   bytea    NOT NULL,
    client_key bytea    NOT NULL,
    format     smallint NOT NULL,
    digest     bytea    NOT NULL,
    replaced   bytea,
    issued_at  bigint   NOT NULL, -- Unix seconds
    expires_at bigint   NOT NULL,
    client_id  text     NOT NULL,
    user_id    text     NOT NULL,
    user_name  text     NOT NULL,
    roles      text     NOT NULL, -- joined by commas
    attributes text     NOT NULL, -- JSON
    stamp      text     NOT NULL,
    PRIMARY KEY (user_key, client_key)
) WITH (fillfactor = 75);

CREATE TABLE IF NOT EXISTS tokenauth_users (
    id            text    NOT NULL PRIMARY KEY, -- UUID
    name_key      text    NOT NULL UNIQUE,      -- the name, normalised
    name          text    NOT NULL,
    password_hash text    NOT NULL,
    roles         text    NOT NULL, -- joined by commas
    attributes    text    NOT NULL, -- JSON
    disabled      boolean NOT NULL,
    stamp         text    NOT NULL,
    created_at    bigint  NOT NULL  -- Unix seconds
);

CREATE TABLE IF NOT EXISTS tokenauth_schema (
    version integer NOT NULL PRIMARY KEY
);

INSERT INTO tokenauth_schema (version) VALUES (1) ON CONFLICT DO NOTHING;
