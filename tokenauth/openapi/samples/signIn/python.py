import json, os
from urllib.parse import urlencode
from urllib.request import urlopen

body = urlencode({
    "grant_type": "password",
    "username": "username",
    "client_id": "client",
    "client_secret": "secret",
    "password": "password",
})
with urlopen(os.environ["HOST"] + "/PATH", body.encode()) as response:
    token = json.load(response)
print(token["access_token"])
