# Signs in with Authlib, which refreshes by itself once its token has expired. Prints
# whom /me names each time.
import json
import os
import time
from importlib.metadata import version

from authlib.integrations.requests_client import OAuth2Session

host, user, password = (os.environ[name] for name in ("HOST", "USER_NAME", "PASSWORD"))
client_id, client_secret = os.environ["CLIENT_ID"] or None, os.environ["CLIENT_SECRET"] or None
method = "client_secret_post" if os.environ["CLIENT_AUTH"] == "body" else None

kept = []  # the tokens that an application would store


def update_token(token, refresh_token=None, access_token=None):
    kept.append(token)


session = OAuth2Session(
    client_id, client_secret, token_endpoint_auth_method=method,
    token_endpoint=host + "/Token", update_token=update_token,
)
session.fetch_token(host + "/Token", grant_type="password", username=user, password=password)
users = [session.get(host + "/me").json()["userName"]]
for _ in range(2):
    session.token["expires_at"] = int(time.time()) - 1
    users.append(session.get(host + "/me").json()["userName"])
assert len(kept) == 2 and kept[0]["refresh_token"] != kept[1]["refresh_token"]
print(json.dumps({"client": "Authlib " + version("authlib"), "users": users}))
