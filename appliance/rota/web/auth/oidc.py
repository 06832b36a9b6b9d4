"""Single sign-on over OpenID Connect: authorisation code with PKCE, state and nonce (Authlib), TLS verified."""

from __future__ import annotations

import re
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Flask, current_app
from joserfc.errors import JoseError
from werkzeug.wrappers import Response

from rota.web.auth.people import NAME, Person, Source
from rota.web.auth.sources import OidcConfig

SECONDS = 5
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]  # no shared secret, and never none


class SignOnFailed(Exception):
    """The provider did not vouch for anybody; the text is for the journal."""


def install(app: Flask, config: OidcConfig) -> None:
    """Make the provider known to `app`; it is first asked when somebody signs in. OSError when the secret is not there."""
    OAuth(app).register(
        "site",
        client_id=config.client_id,
        client_secret=config.client_secret_file.read_text(encoding="utf-8").strip(),
        server_metadata_url=f"{config.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid profile",
            "code_challenge_method": "S256",
            "verify": str(config.ca),
            "trust_env": False,  # no variable of the environment says otherwise
            "default_timeout": SECONDS,
        },
    )


def begin(config: OidcConfig, back: str) -> Response:
    """Send the browser to the provider, which sends it back to `back`; raises SignOnFailed."""
    try:
        _known(config)
        answer: Response = _client().authorize_redirect(back)
    except (AuthlibBaseError, requests.RequestException, ValueError, RuntimeError) as error:
        raise SignOnFailed(_said(error)) from None
    return answer


def finish(config: OidcConfig) -> tuple[str, Person]:
    """Who came back, and the subject by which the provider knows them; raises SignOnFailed."""
    try:
        _known(config)
        options = {"iss": {"essential": True, "value": config.issuer}}
        token = _client().authorize_access_token(claims_options=options)
        claims = dict(token["userinfo"])
    except KeyError:
        raise SignOnFailed("the provider sent no ID token") from None
    except (AuthlibBaseError, JoseError, requests.RequestException, ValueError, RuntimeError) as error:
        raise SignOnFailed(_said(error)) from None
    return str(claims["sub"]), _person(config, claims)


def _person(config: OidcConfig, claims: dict[str, Any]) -> Person:
    name = claims.get(config.name_claim)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SignOnFailed(f"the claim {config.name_claim} is no name that can stand in the journal")
    groups = claims.get(config.groups_claim) or []
    known = [
        config.roles[str(g).lower()]
        for g in ([groups] if isinstance(groups, str) else groups)
        if str(g).lower() in config.roles
    ]
    if not known:
        raise SignOnFailed(f"no group of {name} has a role here")
    return Person(name.lower(), max(known), Source.OIDC)


def _known(config: OidcConfig) -> None:
    """Read what the provider says of itself once, and take from it only what is safe."""
    metadata = _client().load_server_metadata()
    if metadata.get("issuer") != config.issuer:
        raise SignOnFailed("the provider names another issuer")
    offered = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
    metadata["id_token_signing_alg_values_supported"] = [one for one in offered if one in ALGORITHMS]
    for key in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not str(metadata.get(key, "")).startswith("https://"):
            raise SignOnFailed(f"the provider's {key} is not https")


def _client() -> Any:
    return current_app.extensions["authlib.integrations.flask_client"].site


def _said(error: Exception) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", f"{type(error).__name__}: {error}")[:150]
