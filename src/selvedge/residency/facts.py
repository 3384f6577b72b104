"""What a policy was asked about when a release was made: every site as it was seen, from one moment
of change to the next. It travels in the release, so that anybody can ask again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from selvedge.fabric import BadRelease
from selvedge.residency.sites import Site


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From this moment on each site is seen so: its place in ``Facts.seen``."""

    from_us: int
    sites: tuple[int, ...]


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sites in the order of the release: PoPs, then providers. The first epoch is that of the
    publication.
    """

    sites: tuple[str, ...]
    seen: tuple[Site, ...]
    epochs: tuple[Epoch, ...]

    def __post_init__(self) -> None:
        if not self.epochs:
            raise BadRelease("policy.facts", "have at least one epoch")
        for one in self.epochs:
            if len(one.sites) != len(self.sites):
                raise BadRelease("policy.facts", "name every site in every epoch")
            if one.sites and not 0 <= min(one.sites) <= max(one.sites) < len(self.seen):
                raise BadRelease("policy.facts", "name a site that nobody described")
        moments = [one.from_us for one in self.epochs]
        if sorted(set(moments)) != moments:
            raise BadRelease("policy.facts", "have epochs out of order")

    def epoch_at(self, at_us: int) -> Epoch | None:
        """The epoch of a moment; None before the first."""
        found = None
        for one in self.epochs:
            if one.from_us > at_us:
                break
            found = one
        return found

    def site(self, site: str, at_us: int) -> Site | None:
        """A site as it is seen at a moment; None of one that is not there, and before the first."""
        epoch = self.epoch_at(at_us)
        if epoch is None or site not in self.sites:
            return None
        return self.seen[epoch.sites[self.sites.index(site)]]


def gather(sites: Sequence[str], epochs: Iterable[tuple[int, Sequence[Site]]]) -> Facts:
    """The facts of these sites; an epoch in which nothing is seen otherwise is left out."""
    numbers: dict[Site, int] = {}
    by_object: dict[int, int] = {}  # like sites are mostly the same object: hash each once
    kept: list[Epoch] = []
    for from_us, seen in epochs:
        by_object.clear()
        row: list[int] = []
        for one in seen:
            number = by_object.get(id(one))
            if number is None:
                number = by_object[id(one)] = numbers.setdefault(one, len(numbers))
            row.append(number)
        if not kept or kept[-1].sites != tuple(row):
            kept.append(Epoch(from_us, tuple(row)))
    return Facts(tuple(sites), tuple(numbers), tuple(kept))


def write_facts(facts: Facts) -> str:
    """Canonical JSON: the same facts are the same text."""
    return msgspec.json.encode(facts).decode()


def read_facts(text: str) -> Facts:
    """The facts of a release's policy. Raises `BadRelease`."""
    try:
        return msgspec.json.decode(text, type=Facts)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadRelease("policy.facts", f"cannot be read: {str(error)[:200]}") from error


def hash_policy(text: str, facts: str, list_version: str) -> str:
    """``sha256:`` of the three, each behind its length."""
    hashed = hashlib.sha256()
    for part in (text, facts, list_version):
        data = part.encode()
        hashed.update(len(data).to_bytes(8, "big") + data)
    return f"sha256:{hashed.hexdigest()}"
