"""The releases that receipts name, from wherever this machine has them: kept, serving, at PoPs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from selvedge.adapters import (
    RELEASES,
    Held,
    ReleaseArchive,
    bare,
    open_release,
    operator_public_key,
)
from selvedge.control.home import OPERATOR_KEY, Home
from selvedge.fabric import BadRelease, Receipt, Release, SelvedgeError
from selvedge.plan import Judged
from selvedge.residency import Judge, word_of

JUDGES_MAX: Final = 16
"""Releases in memory at once: receipts come in the order of their numbers, and so of releases."""


def public_key_of(home: Home) -> str:
    """The operator's public key. Raises `SelvedgeError` where this is nobody's home."""
    if not (home.directory / OPERATOR_KEY).exists():
        words = f"{home.directory} has no {OPERATOR_KEY}: it is not a fabric's home"
        raise SelvedgeError(f"{words}; give the operator's --home")
    return operator_public_key(home.operator_key())


class KeptReleases:
    """Judges receipts, each by the release that it names."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._public = public_key_of(home)
        self._archive = ReleaseArchive(home.directory / RELEASES)
        self._judges: OrderedDict[tuple[int, str], Judge | None] = OrderedDict()

    @property
    def fleet(self) -> str | None:
        """The fleet of the releases that were looked at; None where there was none."""
        known = (one.release.fleet for one in self._judges.values() if one is not None)
        return next(known, None)

    def seen(self) -> list[Release]:
        """The release that serves, and those that receipts named last; newest first."""
        found = [one.release for one in self._judges.values() if one is not None]
        serving = self._home.release()
        found += [serving] if serving is not None else []
        return sorted(found, key=lambda one: one.version, reverse=True)

    def with_pop(self, pop: str) -> Release | None:
        """The newest of them that has this PoP."""
        return next((one for one in self.seen() if any(pop == had.id for had in one.pops)), None)

    def find(self, version: int, release_hash: str) -> Release | None:
        """A release; None where it is nowhere. Raises `StoreCorrupt` where it is damaged."""
        judge = self._judge(version, release_hash)
        return judge.release if judge is not None else None

    def judge(self, receipt: Receipt) -> Judged:
        """What a receipt's release says of it; of its serving PoP's too, where that had another."""
        judge = self._judge(receipt.release, receipt.release_hash)
        if judge is None:
            return Judged(missing=f"{receipt.release}, {receipt.release_hash}")
        breaches = judge.judge(receipt)
        missing = None
        word = word_of(receipt)
        if word is not None and bare(word.release_hash) != bare(receipt.release_hash):
            served = self._of_hash(word.release_hash)
            if served is None:
                missing = f"of PoP {word.pop}, {word.release_hash}"
            else:
                breaches += served.judge_serving(receipt)
        return Judged(breaches, missing, judge.owners(receipt.served_entity))

    def _judge(self, version: int, release_hash: str) -> Judge | None:
        key = (version, bare(release_hash))
        if key in self._judges:
            self._judges.move_to_end(key)
            return self._judges[key]
        held = self._archive.find(version, release_hash, self._public)
        if held is None:
            held = next((one for one in self._others() if bare(one.hash) == key[1]), None)
        self._judges[key] = Judge(held.release) if held is not None else None
        if len(self._judges) > JUDGES_MAX:
            self._judges.popitem(last=False)
        return self._judges[key]

    def _of_hash(self, release_hash: str) -> Judge | None:
        version = self._archive.version_of(release_hash)
        return self._judge(version or 0, release_hash)

    def _others(self) -> Iterator[Held]:
        """What is not in the archive: from before there was one, or of a PoP of this machine."""
        found = [self._home.release_file]
        found += sorted((self._home.directory / "pops").glob("*/release/release.json"))
        for path in found:
            held = self._read(path)
            if held is not None:
                yield held

    def _read(self, path: Path) -> Held | None:
        try:
            return open_release(path.read_bytes(), self._public)
        except (OSError, BadRelease):
            return None
