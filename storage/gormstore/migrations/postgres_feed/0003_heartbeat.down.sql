-- The trigger of 0003 works with every version of the service, so it stays. Apply 0002
-- again to restore the old trigger. This removes the heartbeat's row.
DELETE FROM tokenauth_tokens
    WHERE user_key = decode('00000000000000000000000000000000', 'hex') AND client_key = decode('00000000000000000000000000000000', 'hex');
