const { HOST, TOKEN } = process.env;
const response = await fetch(`${HOST}/PATH`, {
  method: "POST",
  body: new URLSearchParams({
    client_id: "client",
    client_secret: "secret",
    token: TOKEN,
  }),
});
if (!response.ok) throw new Error((await response.json()).error_description);
