-- Makes the trigger ignore an UPDATE that only extends a token: one that changes nothing
-- but expires_at, to a later time. Such an UPDATE ends no token. The use of a token may
-- cause it.
CREATE OR REPLACE FUNCTION tokenauth_tell() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted text := pg_catalog.current_setting('tokenauth.told', true);
    told integer := 0;
    zero bytea := pg_catalog.decode('00000000000000000000000000000000', 'hex');
    extended record;
BEGIN
    IF TG_OP OPERATOR(pg_catalog.<>) 'TRUNCATE' THEN
        IF OLD.user_key OPERATOR(pg_catalog.=) zero AND OLD.client_key OPERATOR(pg_catalog.=) zero THEN
            IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' AND NEW.stamp OPERATOR(pg_catalog.<>) OLD.stamp THEN
                PERFORM pg_catalog.pg_notify('tokenauth_feed', pg_catalog.concat('beat row ', NEW.stamp));
            END IF;
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        IF NEW.expires_at OPERATOR(pg_catalog.>) OLD.expires_at THEN
            extended := OLD;
            extended.expires_at := NEW.expires_at;
            IF NEW OPERATOR(pg_catalog.*=) extended THEN
                RETURN NULL;
            END IF;
        END IF;
    END IF;
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
