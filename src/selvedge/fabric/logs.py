"""The transparency logs of a fleet: one per jurisdiction, who witnesses it, and which keys sign.

Proposal 0012 has the reasons. A PoP's log has its keys beside the PoP's other facts.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from selvedge.fabric.countries import is_country
from selvedge.fabric.errors import BadRelease
from selvedge.fabric.names import check_name, check_unique

LOG_KEYS_MAX: Final = 2
"""Both are good while one follows the other."""
LOG_DOMAIN: Final = "selvedge.invalid"
"""Of fleets that name none: no domain of anybody's."""
_PUBLIC_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_VERIFIER_KEY: Final = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}")
_URL: Final = re.compile(r"https?://[^/\s]+(/\S*)?")
_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")


class Witness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who cosigns checkpoints: a C2SP verifier key (``name+hash+key``), and where it is asked."""

    key: str
    url: str

    @property
    def name(self) -> str:
        """Its key's name."""
        return self.key.partition("+")[0]


class JurisdictionLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The log of one jurisdiction: PoPs of its countries give it their checkpoints."""

    id: str
    countries: tuple[str, ...]
    url: str
    public_keys: tuple[str, ...]
    """Ed25519, base64. It signs with every one of these that it has."""
    witnesses: tuple[Witness, ...] = ()
    quorum: int = 0
    """So many of the witnesses cosign a checkpoint before it is published."""

    def __post_init__(self) -> None:
        check_name("logs", self.id)
        field = f"logs.{self.id}"
        for code in self.countries:
            if not is_country(code):
                words = f"{code!r} is not an ISO 3166-1 alpha-2 country code, as 'SG'"
                raise BadRelease(field, words)
        if not _URL.fullmatch(self.url):
            raise BadRelease(f"{field}.url", f"{self.url!r} is not an http(s) URL")
        check_log_keys(f"{field}.public_keys", self.public_keys, least=1)
        for one in self.witnesses:
            if not _VERIFIER_KEY.fullmatch(one.key):
                words = f"{one.key!r} is no verifier key, as 'name+0a1b2c3d+base64'"
                raise BadRelease(f"{field}.witnesses", words)
            if not _URL.fullmatch(one.url):
                raise BadRelease(f"{field}.witnesses", f"{one.url!r} is not an http(s) URL")
        check_unique(f"{field}.witnesses", [one.name for one in self.witnesses])
        if not 0 <= self.quorum <= len(self.witnesses):
            words = f"{self.quorum} is more than its {len(self.witnesses)} witnesses, or negative"
            raise BadRelease(f"{field}.quorum", words)


def check_log_keys(field: str, keys: tuple[str, ...], *, least: int = 0) -> None:
    """Ed25519 public keys of a log. Raises `BadRelease`."""
    if not least <= len(keys) <= LOG_KEYS_MAX:
        words = f"names {len(keys)} keys; a log has {least} to {LOG_KEYS_MAX}, drop the oldest"
        raise BadRelease(field, words)
    if not all(_PUBLIC_KEY.fullmatch(one) for one in keys):
        raise BadRelease(field, "is 32 bytes in base64: 44 characters")


def check_logs(domain: str, logs: tuple[JurisdictionLog, ...]) -> None:
    """The logs of a release. Raises `BadRelease`."""
    if not _DOMAIN.fullmatch(domain):
        raise BadRelease("log_domain", f"{domain!r} is not a domain, as 'logs.example.net'")
    check_unique("logs", [one.id for one in logs])


def log_of(logs: tuple[JurisdictionLog, ...], country: str) -> JurisdictionLog | None:
    """The log that takes the checkpoints of PoPs in this country: the first that names it."""
    return next((one for one in logs if country in one.countries), None)


def pop_origin(domain: str, fleet: str, pop: str, shard: str) -> str:
    """The origin line of one shard of a PoP's log."""
    return f"{domain}/{fleet}/pop/{pop}/{shard}"


def jurisdiction_origin(domain: str, fleet: str, log: str, shard: str) -> str:
    """The origin line of one shard of a jurisdiction's log."""
    return f"{domain}/{fleet}/jurisdiction/{log}/{shard}"
