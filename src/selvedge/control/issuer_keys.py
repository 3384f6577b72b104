"""The published keys of a login's issuer: fetched when they are needed, by one thread at a time.

Whoever knocks with a token makes us ask the issuer, so it is asked seldom, by few and for little.
What is no token at all never comes to it.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any, Final, cast
from urllib.parse import urlsplit

import jwt
from jwt.exceptions import PyJWTError

from selvedge.control.database import StoreAway
from selvedge.control.settings import ControlSettings
from selvedge.fabric import BadSetting
from selvedge.pop import is_loopback

ISSUER_S_MAX: Final = 3
KEYS_KEPT_S: Final = 300
UNKNOWN_KEY_S: Final = 30
"""For a token of a key that is unknown the issuer is asked again, but not more often than this."""
ANSWER_BYTES_MAX: Final = 1_000_000
AWAY: Final = "the login's issuer does not answer; retry"

Document = dict[str, Any]  # Any: JSON of the issuer


class IssuerAway(StoreAway):
    """The issuer's keys could not be fetched: nobody's fault who logs in."""


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, settings: ControlSettings) -> None:
        self._issuer = settings.oidc_issuer or ""
        self._url = settings.oidc_jwks_url
        self._held: dict[str, jwt.PyJWK] = {}
        self._fetched_s: float | None = None
        self._turn = threading.Lock()
        if settings.oidc_issuer is not None:
            check_url("oidc_issuer", settings.oidc_issuer)

    def of(self, key_id: str) -> jwt.PyJWK | None:
        """The key of this id; None where the issuer has none. Raises `IssuerAway`."""
        if self._knows(key_id):
            return self._held.get(key_id)
        if not self._turn.acquire(timeout=ISSUER_S_MAX):
            raise IssuerAway(AWAY)
        try:
            if not self._knows(key_id):  # nobody else has asked meanwhile
                self._fetch()
        finally:
            self._turn.release()
        return self._held.get(key_id)

    def _knows(self, key_id: str) -> bool:
        """Whether what is held says it, with no need to ask."""
        if self._fetched_s is None:
            return False
        age_s = time.monotonic() - self._fetched_s
        return age_s < (KEYS_KEPT_S if key_id in self._held else UNKNOWN_KEY_S)

    def _fetch(self) -> None:
        url = self._url or self._discovered()
        check_url("oidc_jwks_url", url)
        try:
            found = jwt.PyJWKSet.from_dict(_document(url))
        except PyJWTError as error:
            raise IssuerAway(f"the login's issuer publishes no key: {error}") from error
        signing = [one for one in found.keys if one.public_key_use in ("sig", None) and one.key_id]
        self._held = {str(one.key_id): one for one in signing}
        self._fetched_s = time.monotonic()
        self._url = url

    def _discovered(self) -> str:
        found = _document(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            said = found.get("issuer")
            raise BadSetting("oidc_issuer", f"{self._issuer} says that it is {said!r}")
        url = found.get("jwks_uri")
        if not isinstance(url, str):
            raise IssuerAway("the login's issuer does not say where its keys are; retry")
        return url


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Where an issuer sends us is not where its keys are."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener: Final = urllib.request.build_opener(_NoRedirects)


def _document(url: str) -> Document:
    """A JSON object of the issuer. Raises `IssuerAway`."""
    try:
        with _opener.open(url, timeout=ISSUER_S_MAX) as answer:
            found = json.loads(answer.read(ANSWER_BYTES_MAX))
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # It is the answer, and holds a connection.
        raise IssuerAway(AWAY) from error
    if not isinstance(found, dict):
        raise IssuerAway("the login's issuer answers with something else; retry")
    return cast(Document, found)


def check_url(name: str, url: str) -> None:
    """Raises `BadSetting` where it is not https, nor on this machine."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not plain:
        raise BadSetting(name, f"{url!r} is not an https URL; only loopback may do without TLS")
