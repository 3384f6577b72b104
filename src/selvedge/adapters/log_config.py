"""The ``logs:`` table of a fleet file: the transparency log of each jurisdiction, and who
witnesses it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

import msgspec

from selvedge.adapters.identities import operator_public_key
from selvedge.fabric import GROUPS, BadRelease, JurisdictionLog, Witness

_STAND_IN: Final = operator_public_key(bytes(32))


class WitnessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A witness: its C2SP verifier key (``name+hash+key``), and its base URL."""

    key: str
    url: str


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log of a jurisdiction. Without ``public_keys``: of the keys in the home from which the
    file is published. Without ``quorum``: more than half of the witnesses.
    """

    url: str
    countries: list[str] = []
    groups: list[str] = []
    public_keys: list[str] = []
    witnesses: list[WitnessConfig] = []
    quorum: int | None = None


def named_logs(
    logs: Mapping[str, LogConfig], keys: Mapping[str, tuple[str, ...]]
) -> tuple[JurisdictionLog, ...]:
    """The logs of a release; ``keys`` has those that the file does not. Raises `BadRelease`."""
    return tuple(_log(name, one, keys.get(name, ())) for name, one in logs.items())


def check_logs_config(logs: Mapping[str, LogConfig]) -> None:
    """The same with stand-ins for keys that are not made yet. Raises `BadRelease`."""
    named_logs(logs, dict.fromkeys(logs, (_STAND_IN,)))


def _log(name: str, one: LogConfig, own: tuple[str, ...]) -> JurisdictionLog:
    codes = set(one.countries)
    for group in one.groups:
        if group not in GROUPS:
            known = ", ".join(sorted(GROUPS))
            raise BadRelease(f"logs.{name}.groups", f"{group!r} is not one of {known}")
        codes |= GROUPS[group]
    if not codes:
        raise BadRelease(f"logs.{name}", "names no country; give 'countries' or 'groups'")
    public_keys = tuple(one.public_keys) or own
    for key in public_keys:
        _check_key(f"logs.{name}.public_keys", key)
    quorum = one.quorum
    if quorum is None:
        quorum = len(one.witnesses) // 2 + 1 if one.witnesses else 0
    witnesses = tuple(Witness(each.key, each.url) for each in one.witnesses)
    return JurisdictionLog(name, tuple(sorted(codes)), one.url, public_keys, witnesses, quorum)


def _check_key(field: str, key: str) -> None:
    try:
        if len(base64.b64decode(key, validate=True)) == 32:
            return
    except ValueError:
        pass
    raise BadRelease(field, f"{key!r} is not 32 bytes in base64")
