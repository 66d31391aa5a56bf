-- Users and clients whose tokens must end, because they changed. A change
-- writes its row in its own transaction; Service.Run ends the tokens, wherever
-- they are stored, and removes the row.
CREATE TABLE IF NOT EXISTS tokenauth_revocations (
    kind      smallint NOT NULL, -- 1: a user, 2: a client
    id        text     NOT NULL, -- of the user or the client
    change_id text     NOT NULL, -- of the last change
    PRIMARY KEY (kind, id)
);

INSERT INTO tokenauth_schema (version) VALUES (5) ON CONFLICT DO NOTHING;
