import json, os
from urllib.parse import urlencode
from urllib.request import urlopen

body = urlencode({
    "client_id": "client",
    "client_secret": "secret",
    "token": os.environ["TOKEN"],
})
with urlopen(os.environ["HOST"] + "/PATH", body.encode()) as response:
    print(json.load(response)["active"])
