"""Whom a verifier trusts: logs, witnesses and a quorum of them (c2sp.org/tlog-policy).

One thing is added, and one form beside. A log's key may be named without the shard: ``example.net/
f/pop/sg1`` stands for every month of that log, ``example.net/f/pop/sg1/2026-11`` for one. And where
a file has nothing but lines ``operator <key>``, the policy is the one that comes along, signed by
such a key: then the operator's word is trusted for which keys are whose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from selvedge.fabric import BadProof
from selvedge.tlog.notes import COSIGNATURE, ED25519, Note, Verifier, verified

SHARD: Final = r"[0-9]{4}-(?:0[1-9]|1[0-2])(?:\.[1-9][0-9]{0,3})?"
POLICY_BYTES_MAX: Final = 1024 * 1024
_SHARD: Final = re.compile(SHARD)
_NONE: Final = "none"


class Group(msgspec.Struct, frozen=True):
    """``least`` of the members, each a witness or a group, have cosigned."""

    least: int
    members: tuple[str, ...]


class Trust(msgspec.Struct, frozen=True):
    """A policy. ``quorum`` names a witness or a group, or is ``none``."""

    logs: tuple[Verifier, ...] = ()
    witnesses: Mapping[str, Verifier] = {}
    groups: Mapping[str, Group] = {}
    quorum: str = _NONE
    operators: tuple[Verifier, ...] = ()

    def keys_of(self, origin: str) -> tuple[Verifier, ...]:
        """The keys by which a log may sign, under its origin as their name."""
        found = [key for key in self.logs if _stands_for(key.name, origin)]
        return tuple(Verifier(origin, ED25519, key.public) for key in found)

    def is_witnessed(self, cosigners: Collection[Verifier]) -> bool:
        """Whether these are a quorum."""
        return self.quorum == _NONE or self._has(self.quorum, cosigners)

    def by_note(self, note: Note) -> Trust:
        """The policy that an operator has signed. Raises `BadProof` where none trusted has."""
        verified(note, self.operators)
        return parse_trust(note.text)

    def _has(self, name: str, cosigners: Collection[Verifier]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return self.witnesses[name] in cosigners
        return sum(self._has(one, cosigners) for one in group.members) >= group.least


def _stands_for(name: str, origin: str) -> bool:
    rest = origin.removeprefix(f"{name}/")
    return name == origin or (rest != origin and _SHARD.fullmatch(rest) is not None)


class _Reading:
    """A policy while its lines are read."""

    def __init__(self) -> None:
        self.logs: list[Verifier] = []
        self.operators: list[Verifier] = []
        self.witnesses: dict[str, Verifier] = {}
        self.groups: dict[str, Group] = {}
        self.members: set[str] = set()
        self.quorum: str | None = None

    def log(self, words: list[str]) -> None:
        key = _key(words, 1, 2, kind=ED25519)
        if any(one.public == key.public for one in self.logs):
            raise ValueError(f"the key of {key.name} is here twice; name its log without the month")
        self.logs.append(key)

    def operator(self, words: list[str]) -> None:
        self.operators.append(_key(words, 1, 1, kind=ED25519))

    def witness(self, words: list[str]) -> None:
        if not words:
            raise ValueError("is 'witness NAME KEY'")
        key = _key(words[1:], 1, 2, kind=COSIGNATURE)
        if any(one.public == key.public for one in self.witnesses.values()):
            raise ValueError(f"the key of {key.name} is here twice")
        self._name(words[0])
        self.witnesses[words[0]] = key

    def group(self, words: list[str]) -> None:
        if len(words) < 3:
            raise ValueError("is 'group NAME all|any|NUMBER MEMBER...'")
        name, least, *members = words
        for one in members:
            self._known(one)
            if one in self.members:
                raise ValueError(f"{one!r} is a member already")
            self.members.add(one)
        number = {"all": str(len(members)), "any": "1"}.get(least, least)
        if not re.fullmatch(r"[1-9][0-9]{0,4}", number) or int(number) > len(members):
            raise ValueError(f"{least!r} is not all, any or 1 to {len(members)}")
        self._name(name)
        self.groups[name] = Group(int(number), tuple(members))

    def set_quorum(self, words: list[str]) -> None:
        if len(words) != 1 or self.quorum is not None:
            raise ValueError("is one line 'quorum NAME', and only one")
        if words[0] != _NONE:
            self._known(words[0])
        self.quorum = words[0]

    def _name(self, name: str) -> None:
        if name == _NONE or name in self.witnesses or name in self.groups:
            raise ValueError(f"the name {name!r} is taken")

    def _known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise ValueError(f"{name!r} is not named on a line before")


def _key(words: list[str], least: int, most: int, *, kind: int) -> Verifier:
    if not least <= len(words) <= most:
        raise ValueError("has a key, as name+id+base64, and perhaps a URL after it")
    key = Verifier.parse(words[0])
    if key.kind != kind:
        raise ValueError(f"the key of {key.name} is of kind {key.kind} and not {kind}")
    return key


def parse_trust(text: str) -> Trust:
    """A policy, or lines ``operator <key>``. Raises `BadProof` that names the line."""
    if len(text) > POLICY_BYTES_MAX:
        raise BadProof("keys", f"are larger than {POLICY_BYTES_MAX} characters")
    reading = _Reading()
    kinds: dict[str, Callable[[list[str]], None]] = {
        "log": reading.log,
        "witness": reading.witness,
        "group": reading.group,
        "quorum": reading.set_quorum,
        "operator": reading.operator,
    }
    for number, line in enumerate(text.split("\n"), 1):
        words = [word for word in re.split("[ \t]+", line) if word]
        if not words or words[0].startswith("#"):
            continue
        read = kinds.get(words[0])
        if read is None:
            known = ", ".join(kinds)
            raise BadProof("keys", f"line {number}: {words[0][:40]!r} is not one of {known}")
        try:
            read(words[1:])
        except (ValueError, BadProof) as error:
            raise BadProof("keys", f"line {number}: {error}") from None
    return _finish(reading)


def _finish(reading: _Reading) -> Trust:
    if reading.operators:
        if reading.logs or reading.witnesses or reading.quorum is not None:
            raise BadProof("keys", "are lines 'operator', or a policy of your own, and not both")
        return Trust(operators=tuple(reading.operators))
    if reading.quorum is None:
        raise BadProof("keys", "have no line 'quorum'; 'quorum none' asks for no witness")
    return Trust(tuple(reading.logs), reading.witnesses, reading.groups, reading.quorum)


def policy_text(
    logs: Iterable[Verifier], witnesses: Sequence[Verifier], quorum: int, *, about: str
) -> str:
    """The policy file of these keys; ``about`` is a line on whose list it is.

    ``quorum`` of the witnesses, 0 for none.
    """
    lines = [f"# {about}", *(f"log {key.text}" for key in logs)]
    lines += [f"witness w{number} {key.text}" for number, key in enumerate(witnesses, 1)]
    if quorum:
        members = " ".join(f"w{number}" for number in range(1, len(witnesses) + 1))
        lines += [f"group quorum-of-{quorum} {quorum} {members}", f"quorum quorum-of-{quorum}"]
    else:
        lines.append(f"quorum {_NONE}")
    return "".join(f"{line}\n" for line in lines)
