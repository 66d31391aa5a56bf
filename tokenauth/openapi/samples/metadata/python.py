import json, os
from urllib.request import urlopen

with urlopen(os.environ["HOST"] + "/PATH") as response:
    print(json.load(response)["token_endpoint"])
