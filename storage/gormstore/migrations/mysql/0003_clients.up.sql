CREATE TABLE IF NOT EXISTS tokenauth_clients (
    id         VARBINARY(256) NOT NULL PRIMARY KEY,
    secret     BINARY(32), -- a digest; none for a public client
    old_secret BINARY(32), -- still valid until the end of a rotation
    roles      BLOB NOT NULL, -- joined by commas
    disabled   BOOLEAN NOT NULL,
    stamp      VARBINARY(64) NOT NULL, -- changes with the row
    created_at BIGINT NOT NULL -- Unix seconds
) ENGINE = InnoDB;

INSERT IGNORE INTO tokenauth_schema (version) VALUES (3);
