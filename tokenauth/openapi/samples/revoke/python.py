import os
from urllib.parse import urlencode
from urllib.request import urlopen

body = urlencode({
    "client_id": "client",
    "client_secret": "secret",
    "token": os.environ["TOKEN"],
})
urlopen(os.environ["HOST"] + "/PATH", body.encode()).close()
