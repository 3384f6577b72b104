"""People who log in elsewhere: an ID token of OpenID Connect becomes a name and perhaps a role.

The token's signature is checked by the issuer's published keys, and issuer, audience and times by
the standard (OpenID Connect Core 1.0, 3.1.3.7). Only asymmetric algorithms are taken. A role that
was granted by name goes before one that configuration reads from a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import jwt
from jwt.exceptions import PyJWTError

from selvedge.control.issuer_keys import IssuerKeys
from selvedge.control.roles import Actor, Role
from selvedge.control.settings import ControlSettings
from selvedge.fabric import NAME_PATTERN

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
LEEWAY_S: Final = 60
NAME_MAX: Final = 128

Claims = Mapping[str, Any]  # Any: a token's own


class Logins:
    """Reads ID tokens of one issuer. ``granted`` finds the role of a name."""

    def __init__(self, settings: ControlSettings, granted: Callable[[str], Actor | None]) -> None:
        self._settings = settings
        self._granted = granted
        self._keys = IssuerKeys(settings)

    def claims(self, token: str) -> Claims | None:
        """What a token says; None where it does not hold.

        May ask the issuer. Raises `IssuerAway` where that does not answer.
        """
        if self._settings.oidc_issuer is None:
            return None
        try:
            head = jwt.get_unverified_header(token)
            named = head.get("kid")
            if head.get("alg") not in ALGORITHMS or not isinstance(named, str):
                return None
            key = self._keys.of(named)
            return None if key is None else self._verified(token, key)
        except PyJWTError:
            return None

    def holder(self, claims: Claims) -> Actor | None:
        """Who says so, with a role; None where nothing gives one."""
        name = claims.get(self._settings.oidc_name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX or not name.isprintable():
            return None
        if self._settings.oidc_name_claim == "email" and claims.get("email_verified") is not True:
            return None
        return self._granted(name) or self._by_claim(name, claims)

    def _verified(self, token: str, key: jwt.PyJWK) -> Claims:
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
            if not isinstance(tenant, str) or not NAME_PATTERN.fullmatch(tenant):
                return None
        return Actor(f"login:{name}", role, tenant)
