import json, os
from urllib.parse import urlencode
from urllib.request import Request, urlopen

body = urlencode({
    "grant_type": "password",
    "username": "username",
    "client_id": "client",
    "client_secret": "secret",
    "password": "password",
})
request = Request(os.environ["HOST"] + "/PATH", body.encode(), method="GET")
with urlopen(request) as response:
    token = json.load(response)
print(token["access_token"])
