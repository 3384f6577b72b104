"""An OpenID Connect issuer on loopback: a discovery document, its keys, and the tokens it signs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

AUDIENCE = "selvedge-admin"


class Issuer:
    """Signs for whoever asks. ``url`` is its name; ``asked`` counts who fetched its keys."""

    def __init__(self) -> None:
        self.url = ""
        self.claims_of_discovery: dict[str, Any] = {}
        self.asked = 0
        self.down = False
        self.says: bytes | None = None
        """Sent in place of its keys."""
        self.stands: threading.Event | None = None
        """Nothing is answered before this is set."""
        self._keys = {}
        self.rotate("one")

    def rotate(self, kid: str) -> None:
        """Sign under a new key from now on."""
        self._kid = kid
        self._keys = {kid: generate_private_key(SECP256R1())}

    def token(self, now_s: int, **claims: Any) -> str:
        """An ID token; a claim of None is left out."""
        whole = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now_s,
            "exp": now_s + 300,
            **claims,
        }
        held = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(held, self._keys[self._kid], "ES256", headers={"kid": self._kid})

    def jwks(self) -> dict[str, Any]:
        rows = []
        for kid, key in self._keys.items():
            row = json.loads(ECAlgorithm.to_jwk(key.public_key()))
            rows.append({**row, "kid": kid, "use": "sig", "alg": "ES256"})
        return {"keys": rows}

    def answer(self, path: str) -> dict[str, Any] | None:
        if self.down:
            return None
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                **self.claims_of_discovery,
            }
        self.asked += 1
        return self.jwks()


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """One, on a free port."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if issuer.stands is not None:
                issuer.stands.wait(30)
            found = issuer.answer(self.path)
            body = json.dumps(found).encode()
            if issuer.says is not None and self.path == "/keys":
                body = issuer.says
            self.send_response(200 if found is not None else 500)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
