"""People who log in elsewhere: an ID token of OpenID Connect becomes a name and perhaps a role.

The token's signature is checked by the issuer's published keys, and issuer, audience and times by
the standard (OpenID Connect Core 1.0, 3.1.3.7). Only asymmetric algorithms are taken. A role that
was granted by name goes before one that configuration reads from a claim.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

import jwt
from jwt.exceptions import PyJWKClientConnectionError, PyJWTError

from selvedge.control.database import StoreAway
from selvedge.control.roles import Actor, Role
from selvedge.control.settings import ControlSettings
from selvedge.fabric import BadSetting
from selvedge.pop import is_loopback

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
ISSUER_S_MAX: Final = 3
LEEWAY_S: Final = 60
KEYS_KEPT_S: Final = 300
UNKNOWN_KEY_S: Final = 30
"""For a token of a key that is unknown the issuer is asked again, but not more often than this."""
DISCOVERY_BYTES_MAX: Final = 1_000_000
NAME_MAX: Final = 128

Claims = Mapping[str, Any]  # Any: a token's own


class IssuerAway(StoreAway):
    """The issuer's keys could not be fetched: nobody's fault who logs in."""


class Logins:
    """Reads ID tokens of one issuer. ``granted`` finds the role of a name."""

    def __init__(self, settings: ControlSettings, granted: Callable[[str], Actor | None]) -> None:
        self._settings = settings
        self._granted = granted
        self._keys: jwt.PyJWKClient | None = None
        if settings.oidc_issuer is not None:
            _check_url("oidc_issuer", settings.oidc_issuer)

    def holder(self, token: str) -> Actor | None:
        """Who this is, with a role; None where the token does not hold or gives none.

        Raises `IssuerAway` where the issuer does not answer.
        """
        if self._settings.oidc_issuer is None:
            return None
        claims = self._claims(token)
        name = claims.get(self._settings.oidc_name_claim) if claims is not None else None
        if claims is None or not isinstance(name, str) or not 0 < len(name) <= NAME_MAX:
            return None
        if self._settings.oidc_name_claim == "email" and claims.get("email_verified") is not True:
            return None
        return self._granted(name) or self._by_claim(name, claims)

    def _claims(self, token: str) -> Claims | None:
        try:
            key = self._jwks().get_signing_key_from_jwt(token)
            return cast(
                Claims,
                jwt.decode(
                    token,
                    key,
                    algorithms=list(ALGORITHMS),
                    audience=self._settings.oidc_audience,
                    issuer=self._settings.oidc_issuer,
                    leeway=LEEWAY_S,
                    options={"require": ["exp", "iat", "iss", "aud", "sub"]},
                ),
            )
        except PyJWKClientConnectionError as error:
            raise IssuerAway("the login's issuer does not answer; retry") from error
        except PyJWTError:
            return None

    def _by_claim(self, name: str, claims: Claims) -> Actor | None:
        found = claims.get(self._settings.oidc_role_claim)
        words = found if isinstance(found, list) else [found]
        role: Role | None = next(
            (role for word, role in self._settings.oidc_roles.items() if word in words), None
        )
        if role is None:
            return None
        tenant = None
        if self._settings.oidc_tenant_claim is not None:
            tenant = claims.get(self._settings.oidc_tenant_claim)
            if not isinstance(tenant, str) or not tenant:
                return None
        return Actor(f"login:{name}", role, tenant)

    def _jwks(self) -> jwt.PyJWKClient:
        if self._keys is None:
            url = self._settings.oidc_jwks_url or self._discovered()
            _check_url("oidc_jwks_url", url)
            self._keys = jwt.PyJWKClient(
                url,
                lifespan=KEYS_KEPT_S,
                timeout=ISSUER_S_MAX,
                cooldown_duration=UNKNOWN_KEY_S,
            )
        return self._keys

    def _discovered(self) -> str:
        issuer = self._settings.oidc_issuer or ""
        url = issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            with urllib.request.urlopen(url, timeout=ISSUER_S_MAX) as answer:
                found = json.loads(answer.read(DISCOVERY_BYTES_MAX))
            if found["issuer"] != issuer:
                raise BadSetting("oidc_issuer", f"{issuer} says that it is {found['issuer']!r}")
            return str(found["jwks_uri"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # It is the answer, and holds a connection.
            raise IssuerAway("the login's issuer does not answer; retry") from error


def _check_url(name: str, url: str) -> None:
    parts = urlsplit(url)
    plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not plain:
        raise BadSetting(name, f"{url!r} is not an https URL; only loopback may do without TLS")
