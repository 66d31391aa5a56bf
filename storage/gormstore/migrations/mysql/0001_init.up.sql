-- All text is in binary columns. So no collation makes different names equal, no
-- padding hides a trailing space, and no connection charset converts text.
CREATE TABLE IF NOT EXISTS tokenauth_tokens (
    user_key   BINARY(16)     NOT NULL,
    client_key BINARY(16)     NOT NULL,
    format     SMALLINT       NOT NULL,
    digest     BINARY(32)     NOT NULL,
    replaced   BINARY(32)     NULL,
    issued_at  BIGINT         NOT NULL, -- Unix seconds
    expires_at BIGINT         NOT NULL,
    client_id  VARBINARY(256) NOT NULL,
    user_id    VARBINARY(512) NOT NULL,
    user_name  VARBINARY(512) NOT NULL,
    roles      BLOB           NOT NULL, -- joined by commas
    attributes BLOB           NOT NULL, -- JSON
    stamp      VARBINARY(512) NOT NULL,
    PRIMARY KEY (user_key, client_key)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS tokenauth_users (
    id            VARBINARY(36)  NOT NULL PRIMARY KEY, -- UUID
    name_key      VARBINARY(512) NOT NULL UNIQUE,      -- the name, normalised
    name          VARBINARY(512) NOT NULL,
    password_hash VARBINARY(512) NOT NULL,
    roles         BLOB           NOT NULL, -- joined by commas
    attributes    BLOB           NOT NULL, -- JSON
    disabled      BOOLEAN        NOT NULL,
    stamp         VARBINARY(64)  NOT NULL,
    created_at    BIGINT         NOT NULL  -- Unix seconds
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS tokenauth_schema (
    version INTEGER NOT NULL PRIMARY KEY
) ENGINE = InnoDB;

INSERT IGNORE INTO tokenauth_schema (version) VALUES (1);
