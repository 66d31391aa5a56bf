# Signs in with requests-oauthlib, which refreshes by itself once its token has expired.
# Prints whom /me names each time.
import json
import os
import time
from importlib.metadata import version

from oauthlib.oauth2 import LegacyApplicationClient
from requests_oauthlib import OAuth2Session

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # a server on this machine, without TLS

host, user, password = (os.environ[name] for name in ("HOST", "USER_NAME", "PASSWORD"))
client_id, client_secret = os.environ["CLIENT_ID"] or None, os.environ["CLIENT_SECRET"] or None
in_body = os.environ["CLIENT_AUTH"] == "body"
# How a refresh names the client: these arguments of a request become Basic authentication.
named = {"client_id": client_id, "client_secret": client_secret} if client_id else {}

kept = []  # the tokens that an application would store
session = OAuth2Session(
    client=LegacyApplicationClient(client_id=client_id),
    auto_refresh_url=host + "/Token", auto_refresh_kwargs=named if in_body else {}, token_updater=kept.append,
)
session.fetch_token(
    host + "/Token", username=user, password=password,
    client_secret=client_secret, include_client_id=True if in_body else None,
)


def me():
    return session.get(host + "/me", **({} if in_body else named)).json()["userName"]


users = [me()]
for _ in range(2):
    session.token = dict(session.token, expires_at=time.time() - 1)
    users.append(me())
assert len(kept) == 2 and kept[0]["refresh_token"] != kept[1]["refresh_token"]
print(json.dumps({
    "client": "requests-oauthlib %s, oauthlib %s" % (version("requests-oauthlib"), version("oauthlib")),
    "users": users,
}))
