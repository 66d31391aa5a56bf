// Signs in with simple-oauth2, and refreshes once the token has expired, as its
// documentation shows. Prints whom /me names each time.
import { createRequire } from 'node:module';
import { ResourceOwnerPassword } from 'simple-oauth2';

const { version } = createRequire(import.meta.url)('simple-oauth2/package.json');
const { HOST: host, USER_NAME: username, PASSWORD: password } = process.env;
const { CLIENT_ID: id, CLIENT_SECRET: secret, CLIENT_AUTH: auth } = process.env;

const client = new ResourceOwnerPassword({
  client: { id, secret },
  auth: { tokenHost: host, tokenPath: '/Token', refreshPath: '/Token' },
  options: auth === 'body' ? { authorizationMethod: 'body' } : {},
});
let token = await client.getToken({ username, password });

const me = async () => {
  if (token.expired()) token = await token.refresh();
  const response = await fetch(host + '/me', { headers: { authorization: `Bearer ${token.token.access_token}` } });
  return (await response.json()).userName;
};

const users = [await me()];
for (let i = 0; i < 2; i++) {
  // As read from where an application stores it.
  token = client.createToken({ ...token.token, expires_at: new Date(Date.now() - 1000).toISOString() });
  users.push(await me());
}
console.log(JSON.stringify({ client: `simple-oauth2 ${version}, Node ${process.version}`, users }));
