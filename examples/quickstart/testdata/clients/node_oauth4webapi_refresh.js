// Signs in with oauth4webapi, and refreshes once a request is challenged because the
// token has expired. Prints whom /me names each time.
import { readFileSync } from 'node:fs';
import * as oauth from 'oauth4webapi';

const { version } = JSON.parse(readFileSync(new URL('node_modules/oauth4webapi/package.json', import.meta.url)));
const { HOST: host, USER_NAME: username, PASSWORD: password } = process.env;
const { CLIENT_ID: id, CLIENT_SECRET: secret, CLIENT_AUTH: auth } = process.env;

const server = { issuer: host, token_endpoint: host + '/Token' };
const client = { client_id: id || 'unregistered' }; // it cannot do without
const options = { [oauth.allowInsecureRequests]: true }; // a server on this machine, without TLS
const authentication = !secret ? oauth.None() : auth === 'body' ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret);

let token = await oauth.processGenericTokenEndpointResponse(
  server, client,
  await oauth.genericTokenEndpointRequest(server, client, authentication, 'password', { username, password }, options),
);

const get = () => oauth.protectedResourceRequest(token.access_token, 'GET', new URL(host + '/me'), undefined, undefined, options);

const me = async () => {
  let response;
  try {
    response = await get();
  } catch (error) {
    if (!(error instanceof oauth.WWWAuthenticateChallengeError) || error.cause[0].parameters.error !== 'invalid_token') throw error;
    token = await oauth.processRefreshTokenResponse(
      server, client,
      await oauth.refreshTokenGrantRequest(server, client, authentication, token.refresh_token, options),
    );
    response = await get();
  }
  return (await response.json()).userName;
};

console.log(JSON.stringify({ client: `oauth4webapi ${version}, Node ${process.version}`, users: [await me(), await me(), await me()] }));
