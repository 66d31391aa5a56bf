# Signs in with Authlib, and prints what it has seen.
import json
import os
import time
from importlib.metadata import version

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

host, user, password = (os.environ[name] for name in ("HOST", "USER_NAME", "PASSWORD"))
client_id, client_secret = os.environ["CLIENT_ID"] or None, os.environ["CLIENT_SECRET"] or None
# The library's own choice is Basic if there is a secret, else "none".
method = "client_secret_post" if os.environ["CLIENT_AUTH"] == "body" else None


def sign_in(password, client_secret=client_secret):
    session = OAuth2Session(client_id, client_secret, token_endpoint_auth_method=method)
    session.fetch_token(host + "/Token", grant_type="password", username=user, password=password)
    return session


def refused(*args):
    try:
        sign_in(*args)
    except OAuthError as e:
        return e.error
    return ""


first = sign_in(password)
seen = {
    "client": "Authlib " + version("authlib"),
    "expiresIn": first.token["expires_at"] - time.time(),
    "wrongPassword": refused("not " + password),
    "user": first.get(host + "/me").json()["userName"],
}
if client_secret:
    seen["wrongSecret"] = refused(password, "not " + client_secret)

second = sign_in(password)
seen["userAgain"] = second.get(host + "/me").json()["userName"]
replaced = first.get(host + "/me")
seen["replaced"] = "%d %s" % (replaced.status_code, replaced.json()["error_description"])
print(json.dumps(seen))
