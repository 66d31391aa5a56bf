// Signs in with simple-oauth2, and prints what it has seen.
import { createRequire } from 'node:module';
import { ResourceOwnerPassword } from 'simple-oauth2';

const { version } = createRequire(import.meta.url)('simple-oauth2/package.json');
const { HOST: host, USER_NAME: username, PASSWORD: password } = process.env;
const { CLIENT_ID: id, CLIENT_SECRET: secret, CLIENT_AUTH: auth } = process.env;

const signIn = (password, clientSecret = secret) => new ResourceOwnerPassword({
  client: { id, secret: clientSecret },
  auth: { tokenHost: host, tokenPath: '/Token' },
  options: auth === 'body' ? { authorizationMethod: 'body' } : {},
}).getToken({ username, password });

const refused = async (...args) => {
  try {
    await signIn(...args);
  } catch (error) {
    if (!error.isBoom) throw error;
    return error.data.payload.error;
  }
  return '';
};

// The library calls nothing but the token endpoint.
const me = ({ token }) => fetch(host + '/me', { headers: { authorization: `Bearer ${token.access_token}` } });
const userName = async (token) => (await (await me(token)).json()).userName;

const first = await signIn(password);
const seen = {
  client: `simple-oauth2 ${version}, Node ${process.version}`,
  expiresIn: (first.token.expires_at - Date.now()) / 1000,
  wrongPassword: await refused('not ' + password),
  user: await userName(first),
};
if (secret) seen.wrongSecret = await refused(password, 'not ' + secret);

const second = await signIn(password);
seen.userAgain = await userName(second);
const replaced = await me(first);
seen.replaced = `${replaced.status} ${(await replaced.json()).error_description}`;
console.log(JSON.stringify(seen));
