"""Who operates a site, and the residency policy of a release, compiled: one bitset of PoPs a rule
and an act.

Proposal 0011 has the reasons. What is written here is checked where the release is built; what the
bits mean is the residency room's.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from selvedge.fabric.countries import is_country
from selvedge.fabric.errors import BadRelease
from selvedge.fabric.names import check_name

Handling = Literal["zero-retention", "no-training"]
HANDLINGS: Final[tuple[Handling, ...]] = ("zero-retention", "no-training")
Act = Literal["enter", "process", "cache", "log", "receipts", "keys"]
ACTS: Final[tuple[Act, ...]] = ("enter", "process", "cache", "log", "receipts", "keys")
"""What may be done with a request's data at a PoP: let it in and decrypt it, run a model on it,
keep its answer, write lines and traces about it, keep its receipt, keep the keys of its subjects.
"""

_BITS: Final = re.compile(r"[0-9a-f]*")
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Entity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A legal entity that operates sites: where it is established, and who owns it.

    ``remote_access`` are countries from which its people may reach its sites, beside its own.
    ``certificates`` are those a transfer instrument may ask for, as ``dpf``; ``sectors`` are what
    it works in, as ``commercial``.
    """

    id: str
    country: str
    parent: str | None = None
    remote_access: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.id or len(self.id) > 128:
            raise BadRelease("entities", "an entity's name has 1 to 128 characters")
        for code in (self.country, *self.remote_access):
            if not is_country(code):
                words = f"{code!r} is not an ISO 3166-1 alpha-2 country code, as 'SG'"
                raise BadRelease(f"entities.{self.id}", words)


class CompiledRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One named rule of the policy from a moment on: a bitset of PoPs for each act, in hex.

    Bit *i* is ``Release.sites[i]``. Where a rule has several rows, each holds until the next one's
    ``from_us``; before the first it allows nothing.
    """

    rule: str
    from_us: int
    enter: str
    process: str
    cache: str
    log: str
    receipts: str
    keys: str

    def __post_init__(self) -> None:
        check_name("policy.rules", self.rule)
        for act in ACTS:
            if not _BITS.fullmatch(getattr(self, act)):
                raise BadRelease(f"policy.rules.{self.rule}.{act}", "is a bitset in hex digits")

    @property
    def bits(self) -> int:
        """Every PoP at which it allows anything."""
        found = 0
        for act in ACTS:
            found |= int(getattr(self, act) or "0", 16)
        return found


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The residency policy that a release was compiled from, and what came of it.

    ``text`` is Cedar; ``facts`` are what it was asked about (sites by what a policy can see of
    them, canonical JSON), so that anybody can ask it again: `selvedge policy`, the shadow check.
    """

    text: str
    facts: str
    list_version: str
    """Of the list of jurisdictions and transfer instruments."""
    hash: str
    """``sha256:`` of text, facts and list version, each behind its length."""
    rules: tuple[CompiledRule, ...]

    def __post_init__(self) -> None:
        if not _HASH.fullmatch(self.hash):
            raise BadRelease("policy.hash", "is 'sha256:' and 64 digits")
        last: dict[str, int] = {}
        for one in self.rules:
            if last.get(one.rule, -1) >= one.from_us:
                words = "its rows are in order of from_us, each later than the one before"
                raise BadRelease(f"policy.rules.{one.rule}", words)
            last[one.rule] = one.from_us

    @property
    def version(self) -> str:
        """As receipts name it: the list's version and the first digits of the hash."""
        return f"{self.list_version}/{self.hash[7:23]}"
