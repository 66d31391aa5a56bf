// fetch sends no GET with a body; Node's http does.
import { request } from "node:http"; // node:https for https URLs

const body = new URLSearchParams({
  grant_type: "password",
  username: "username",
  client_id: "client",
  client_secret: "secret",
  password: "password",
}).toString();
const headers = {
  "Content-Type": "application/x-www-form-urlencoded",
  "Content-Length": Buffer.byteLength(body),
};
const call = request(`${process.env.HOST}/PATH`, { method: "GET", headers }, async (response) => {
  const token = JSON.parse((await response.toArray()).join(""));
  if (response.statusCode !== 200) throw new Error(token.error_description);
  console.log(token.access_token);
});
call.end(body);
