-- The trigger of 0003 serves every version; applying 0002 again brings the one
-- before back. The beat row goes.
DELETE FROM tokenauth_tokens
    WHERE user_key = decode('00000000000000000000000000000000', 'hex') AND client_key = decode('00000000000000000000000000000000', 'hex');
