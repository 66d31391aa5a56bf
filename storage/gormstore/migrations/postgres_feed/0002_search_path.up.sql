-- The trigger of 0001 finds operators and functions through the search path of the
-- session. A role that may create objects in a schema on that path could run its own
-- code with the rights of the service. Here the path is fixed, and names are qualified.
CREATE OR REPLACE FUNCTION tokenauth_tell() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted text := pg_catalog.current_setting('tokenauth.told', true);
    told integer := 0;
BEGIN
    IF counted OPERATOR(pg_catalog.<>) '' THEN
        told := counted::integer;
    END IF;
    IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' OR told OPERATOR(pg_catalog.>=) 1000 THEN
        PERFORM pg_catalog.pg_notify('tokenauth_feed', 'all');
        RETURN NULL;
    END IF;
    PERFORM pg_catalog.set_config('tokenauth.told', (told OPERATOR(pg_catalog.+) 1)::text, true);
    PERFORM pg_catalog.pg_notify('tokenauth_feed', pg_catalog.encode(OLD.user_key, 'hex'));
    RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS tokenauth_tell ON tokenauth_tokens;

-- The day (86400 s) allows for different clocks: a token that has expired here may
-- still be valid by the clock of a replica.
CREATE TRIGGER tokenauth_tell AFTER UPDATE OR DELETE ON tokenauth_tokens
    FOR EACH ROW WHEN (OLD.expires_at OPERATOR(pg_catalog.>) (extract(epoch FROM pg_catalog.now())::bigint OPERATOR(pg_catalog.-) 86400::bigint))
    EXECUTE FUNCTION tokenauth_tell();

DROP TRIGGER IF EXISTS tokenauth_tell_all ON tokenauth_tokens;

CREATE TRIGGER tokenauth_tell_all AFTER TRUNCATE ON tokenauth_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION tokenauth_tell();
