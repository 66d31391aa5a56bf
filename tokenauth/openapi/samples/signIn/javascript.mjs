const host = process.env.HOST; // in a browser: location.origin
const response = await fetch(`${host}/PATH`, {
  method: "POST",
  body: new URLSearchParams({
    grant_type: "password",
    username: "username",
    client_id: "client",
    client_secret: "secret",
    password: "password",
  }),
});
const token = await response.json();
if (!response.ok) throw new Error(token.error_description);
console.log(token.access_token);
