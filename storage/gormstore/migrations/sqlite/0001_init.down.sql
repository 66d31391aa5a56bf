DROP TABLE tokenauth_tokens;
DROP TABLE tokenauth_users;
DROP TABLE tokenauth_schema;
