"""A small OpenID provider over TLS: real signatures, PKCE and client secrets, and the lies that tests ask it for."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from peers.pki import Authority

CLIENT, SECRET = "rota", "the-client-secret"


class Provider:
    """It vouches for `claims`; `lies` are laid over what it says (see the tests)."""

    def __init__(self, authority: Authority) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.claims: dict[str, Any] = {"sub": "4711", "preferred_username": "Anna", "groups": ["ops", "staff"]}
        self.lies: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.refused: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.say(*provider.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.say(
                    *provider.token({k: v[0] for k, v in parse_qs(body).items()}, self.headers.get("Authorization", ""))
                )

            def say(self, status: int, body: dict[str, Any]) -> None:
                raw = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        issued = authority.issue("localhost")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.cert, issued.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.issuer = f"https://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/jwks":
            return 200, KeySet([self.key]).as_dict(private=False)
        if path == "/.well-known/openid-configuration":
            metadata = {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize", "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks", "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            }  # fmt: skip
            return 200, metadata | self.lies.get("metadata", {})
        return 404, {}

    def authorize(self, url: str) -> dict[str, str]:
        """What the person's browser would do at `url`: the query with which it is sent back."""
        query = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["client_id"] == CLIENT
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return {"code": code, "state": query["state"]}

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self.codes.pop(form.get("code", ""), None)
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        right = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked is None or authorization != f"Basic {right}":
            self.refused.append("code or client")
            return 400, {"error": "invalid_grant"}
        if asked["code_challenge"] != base64.urlsafe_b64encode(proof).decode().rstrip("="):
            self.refused.append("PKCE")
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        claims |= self.claims | self.lies.get("claims", {})
        answer: dict[str, Any] = {"access_token": "x", "token_type": "Bearer"}
        if not self.lies.get("no id token"):
            answer["id_token"] = self._signed({k: v for k, v in claims.items() if v is not None})
        return 200, answer

    def _signed(self, claims: dict[str, Any]) -> str:
        match self.lies.get("signed with"):
            case "another key":
                return jwt.encode({"alg": "RS256", "kid": "one"}, claims, RSAKey.generate_key(2048, {"kid": "one"}))
            case "none":
                parts = ({"alg": "none"}, claims)
                return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."
            case "the public key as a secret":
                public = OctKey.import_key(self.key.as_pem(private=False))
                return jwt.encode({"alg": "HS256", "kid": "one"}, claims, public)
            case _:
                return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)
