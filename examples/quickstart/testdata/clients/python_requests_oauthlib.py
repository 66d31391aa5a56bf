# Signs in with requests-oauthlib, and prints what it has seen.
import json
import os
import time
from importlib.metadata import version

from oauthlib.oauth2 import InvalidClientError, InvalidGrantError, LegacyApplicationClient
from requests_oauthlib import OAuth2Session

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # a server on this machine, without TLS

host, user, password = (os.environ[name] for name in ("HOST", "USER_NAME", "PASSWORD"))
client_id, client_secret = os.environ["CLIENT_ID"] or None, os.environ["CLIENT_SECRET"] or None
in_body = True if os.environ["CLIENT_AUTH"] == "body" else None


def sign_in(password, client_secret=client_secret):
    session = OAuth2Session(client=LegacyApplicationClient(client_id=client_id))
    session.fetch_token(
        host + "/Token", username=user, password=password,
        client_secret=client_secret, include_client_id=in_body,
    )
    return session


def refused(error, *args):
    try:
        sign_in(*args)
    except error as e:
        return e.error
    return ""


first = sign_in(password)
seen = {
    "client": "requests-oauthlib %s, oauthlib %s" % (version("requests-oauthlib"), version("oauthlib")),
    "expiresIn": first.token["expires_at"] - time.time(),
    "wrongPassword": refused(InvalidGrantError, "not " + password),
    "user": first.get(host + "/me").json()["userName"],
}
if client_secret:
    seen["wrongSecret"] = refused(InvalidClientError, password, "not " + client_secret)

second = sign_in(password)
seen["userAgain"] = second.get(host + "/me").json()["userName"]
replaced = first.get(host + "/me")
seen["replaced"] = "%d %s" % (replaced.status_code, replaced.json()["error_description"])
print(json.dumps(seen))
