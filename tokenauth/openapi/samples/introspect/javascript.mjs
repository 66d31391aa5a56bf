const { HOST, TOKEN } = process.env;
const response = await fetch(`${HOST}/PATH`, {
  method: "POST",
  body: new URLSearchParams({
    client_id: "client",
    client_secret: "secret",
    token: TOKEN,
  }),
});
const answer = await response.json();
if (!response.ok) throw new Error(answer.error_description);
console.log(answer.active);
