// Signs in with oauth4webapi, and prints what it has seen.
import { readFileSync } from 'node:fs';
import * as oauth from 'oauth4webapi';

const { version } = JSON.parse(readFileSync(new URL('node_modules/oauth4webapi/package.json', import.meta.url)));
const { HOST: host, USER_NAME: username, PASSWORD: password } = process.env;
const { CLIENT_ID: id, CLIENT_SECRET: secret, CLIENT_AUTH: auth } = process.env;

const server = { issuer: host, token_endpoint: host + '/Token' };
const client = { client_id: id || 'unregistered' }; // it cannot do without
const options = { [oauth.allowInsecureRequests]: true }; // a server on this machine, without TLS

const authentication = (secret) => {
  if (!secret) return oauth.None();
  return auth === 'body' ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret);
};

const signIn = async (password, clientSecret = secret) => oauth.processGenericTokenEndpointResponse(
  server, client,
  await oauth.genericTokenEndpointRequest(server, client, authentication(clientSecret), 'password', { username, password }, options),
);

const refused = async (...args) => {
  try {
    await signIn(...args);
  } catch (error) {
    if (error instanceof oauth.ResponseBodyError) return error.error;
    // A refused client is challenged, and the body is yet to be read.
    if (error instanceof oauth.WWWAuthenticateChallengeError && error.cause[0].scheme === 'basic') {
      return (await error.response.json()).error;
    }
    throw error;
  }
  return '';
};

const me = ({ access_token }) => oauth.protectedResourceRequest(access_token, 'GET', new URL(host + '/me'), undefined, undefined, options);
const userName = async (token) => (await (await me(token)).json()).userName;

const first = await signIn(password);
const seen = {
  client: `oauth4webapi ${version}, Node ${process.version}`,
  expiresIn: first.expires_in,
  wrongPassword: await refused('not ' + password),
  user: await userName(first),
};
if (secret) seen.wrongSecret = await refused(password, 'not ' + secret);

const second = await signIn(password);
seen.userAgain = await userName(second);
try {
  await me(first);
} catch (error) {
  if (!(error instanceof oauth.WWWAuthenticateChallengeError)) throw error;
  seen.replaced = `${error.status} ${error.cause[0].parameters.error_description}`;
}
console.log(JSON.stringify(seen));
