DROP TRIGGER IF EXISTS tokenauth_tell ON tokenauth_tokens;

DROP TRIGGER IF EXISTS tokenauth_tell_all ON tokenauth_tokens;

DROP FUNCTION IF EXISTS tokenauth_tell();
