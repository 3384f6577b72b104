"""What may be a name in a release, and the checks every noun of it makes."""

from __future__ import annotations

import re
from typing import Final

from selvedge.fabric.errors import BadRelease

NAME_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
"""Names of PoPs, tenants, zones and keys: lower case, digits, dots and dashes, at most 64."""


def check_name(what: str, name: str) -> None:
    """Raises `BadRelease` where ``name`` is none; ``what`` is the field."""
    if not NAME_PATTERN.fullmatch(name):
        raise BadRelease(
            what, f"{name!r} is not a name: use a-z, 0-9, '.' and '-', at most 64 characters"
        )


def check_unique(what: str, names: list[str]) -> None:
    """Raises `BadRelease` where a name comes twice; ``what`` is the field."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadRelease(what, f"{name!r} appears twice")
        seen.add(name)
