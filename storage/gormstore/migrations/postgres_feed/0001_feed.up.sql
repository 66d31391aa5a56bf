-- Notifies listeners of each user who has a token that ends before it expires,
-- because its row is deleted or overwritten. A first sign-in ends no token, so it does
-- not notify. PostgreSQL sends the notifications when the transaction commits, once
-- for each user.
--
-- After 1000 users, a transaction notifies "all" instead of each user. That bounds the
-- number of notifications.
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

-- The day (86400 s) allows for different clocks: a token that has expired here may
-- still be valid by the clock of a replica.
CREATE TRIGGER tokenauth_tell AFTER UPDATE OR DELETE ON tokenauth_tokens
    FOR EACH ROW WHEN (OLD.expires_at > extract(epoch FROM now()) - 86400)
    EXECUTE FUNCTION tokenauth_tell();

DROP TRIGGER IF EXISTS tokenauth_tell_all ON tokenauth_tokens;

CREATE TRIGGER tokenauth_tell_all AFTER TRUNCATE ON tokenauth_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION tokenauth_tell();
