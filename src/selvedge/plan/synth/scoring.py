"""How well found faults agree with planted ones: recall and precision by kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.plan.history import Finding, FindingKind

SLACK_S: Final[Mapping[str, int]] = MappingProxyType(
    {"clock_shift": 3 * 86_400, "mixed_units": 6 * 3600, "frozen": 3600, "renamed": 3600}
)
"""By how much a found stretch may miss the planted one and still be it; else one step."""
STEP_S: Final = 300
FOLLOWS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "gap": frozenset(["empty_month"]),
        "over_capacity": frozenset(["mixed_units"]),
        "unknown_time_zone": frozenset(["unknown_pop"]),
    }
)
"""What is true as well where another fault was planted: neither asked for nor held against."""
TIMELESS: Final = frozenset(["unknown_pop", "unknown_time_zone"])


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One kind: how many were planted and found, found and planted."""

    kind: FindingKind
    planted: int
    hit: int
    """Planted ones that were found."""
    found: int
    right: int
    """Found ones that were planted."""
    excused: int
    """Found ones that follow from a planted fault of another kind."""

    @property
    def recall(self) -> float:
        """Share of the planted that were found; 1 where none was planted."""
        return self.hit / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Share of the found, but for the excused, that were planted; 1 where none was found."""
        judged = self.found - self.excused
        return self.right / judged if judged else 1.0


def score_findings(planted: Iterable[Finding], found: Iterable[Finding]) -> list[Score]:
    """By kind, in order of their names."""
    true, seen = _by_kind(planted), _by_kind(found)
    everything = [one for many in true.values() for one in many]
    return [
        _score(kind, true.get(kind, []), seen.get(kind, []), everything)
        for kind in sorted({*true, *seen})
    ]


def _by_kind(findings: Iterable[Finding]) -> dict[FindingKind, list[Finding]]:
    found: dict[FindingKind, list[Finding]] = defaultdict(list)
    for one in findings:
        found[one.kind].append(one)
    return found


def _score(
    kind: FindingKind,
    planted: Sequence[Finding],
    found: Sequence[Finding],
    everything: Sequence[Finding],
) -> Score:
    near = _by_pop(planted)
    hit: set[int] = set()
    right = excused = 0
    causes = FOLLOWS.get(kind, frozenset())
    others = _by_pop(one for one in everything if one.kind in causes)
    for one in found:
        same = [true for true in _around(near, one) if _is_same(true, one)]
        hit |= {id(true) for true in same}
        if same:
            right += 1
        elif any(_overlap(true, one, STEP_S) for true in _around(others, one)):
            excused += 1
    return Score(
        kind=kind,
        planted=len(planted),
        hit=len(hit),
        found=len(found),
        right=right,
        excused=excused,
    )


def _by_pop(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """A renamed PoP's is under both of its names."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for one in findings:
        found[one.pop].append(one)
        if one.kind == "renamed":
            found[one.series].append(one)
    return found


def _around(near: Mapping[str, list[Finding]], one: Finding) -> list[Finding]:
    return near.get(one.pop, [])


def _is_same(true: Finding, one: Finding) -> bool:
    return true.kind in TIMELESS or _overlap(true, one, SLACK_S.get(true.kind, STEP_S))


def _overlap(true: Finding, one: Finding, slack_s: int) -> bool:
    return one.from_s < true.until_s + slack_s and one.until_s > true.from_s - slack_s
