-- Tells those who listen of each user of whom a token ends that somebody may
-- hold: one that is deleted or overwritten before it expires. A first sign-in
-- ends none, and costs nothing. PostgreSQL sends the notifications when the
-- transaction commits, each user's once.
--
-- A transaction that ends the tokens of more than 1000 users says "all" for the
-- rest of them, so that no number of them overflows anything.
CREATE OR REPLACE FUNCTION tokenauth_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told integer := coalesce(nullif(current_setting('tokenauth.told', true), ''), '0');
BEGIN
    IF TG_OP = 'TRUNCATE' OR told >= 1000 THEN
        PERFORM pg_notify('tokenauth_feed', 'all');
        RETURN NULL;
    END IF;
    PERFORM set_config('tokenauth.told', (told + 1)::text, true);
    PERFORM pg_notify('tokenauth_feed', encode(OLD.user_key, 'hex'));
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS tokenauth_tell ON tokenauth_tokens;

-- The day is for clocks that differ: a token that has expired here may still be
-- good by the clock of a replica.
CREATE TRIGGER tokenauth_tell AFTER UPDATE OR DELETE ON tokenauth_tokens
    FOR EACH ROW WHEN (OLD.expires_at > extract(epoch FROM now()) - 86400)
    EXECUTE FUNCTION tokenauth_tell();

DROP TRIGGER IF EXISTS tokenauth_tell_all ON tokenauth_tokens;

CREATE TRIGGER tokenauth_tell_all AFTER TRUNCATE ON tokenauth_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION tokenauth_tell();
