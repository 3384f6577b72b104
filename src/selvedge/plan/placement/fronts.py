"""What more sites, more money or another server would buy: the best choice at each of several.

Each point is an answer of its own with its own bound. A point is dominated where another that runs
the same model is no worse in demand served, mean time to the first token, share nearby and money a
year, and better in one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec

from selvedge.plan.history import BadPlan
from selvedge.plan.placement.measures import Measures
from selvedge.plan.placement.retrofit import Retrofit
from selvedge.sim import HARDWARE

LIMITS_MAX = 24
"""Points of a front: each is a search of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a point of a front is asked with; what is None is as in the whole question."""

    words: str
    """As an error says it."""
    new: int | None = None
    """Sites, at most."""
    budget_usd: float | None = None
    server: str | None = None
    """Installed at every new site."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One of a front: the best choice found at a limit, and what it comes to."""

    server: str | None
    """What is installed, where servers are compared;"""
    model: str
    """and the model whose speed is reckoned with: times of different ones do not compare."""

    new_sites: int
    budget_usd: float | None
    """The limit, where money is; what is spent stands in `measures`."""
    cost: float
    bound: float
    gap: float
    proof: str
    measures: Measures
    is_dominated: bool
    """Whether another point is no worse in any of these four, and better in one."""


def read_counts(option: str, text: str) -> list[int]:
    """`40,80,160` as numbers of new sites, sorted, each once. Raises `BadPlan`, naming one."""
    found = set()
    for part in _parts(option, text, "40,80,160"):
        if not part.isdigit() or len(part) > 6:
            words = "is no number of new sites; give whole numbers, as 40,80,160"
            raise BadPlan(f"{option}: {part!r} {words}.")
        found.add(int(part))
    return sorted(found)


def read_budgets(option: str, text: str) -> list[float]:
    """`1e6,2e6` as dollars, sorted, each once. Raises `BadPlan`, naming the one that is none."""
    found = set()
    for part in _parts(option, text, "1e6,2e6"):
        try:
            usd = float(part)
        except ValueError:
            usd = math.nan
        if not 0 < usd < 1e15:
            raise BadPlan(
                f"{option}: {part!r} is no budget; give dollars above 0 and below 1e15, as 1e6,2e6"
                " (no thousands separators)."
            )
        found.add(usd)
    return sorted(found)


def _parts(option: str, text: str, example: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise BadPlan(f"{option} {text!r}: a value is empty; write it as {example}.")
    if len(parts) > LIMITS_MAX:
        raise BadPlan(f"{option}: {len(parts)} values; give {LIMITS_MAX} at most.")
    return parts


def read_servers_asked(option: str, text: str, known: Collection[str]) -> list[str]:
    """`l4-1u,a100-4u` as names of the table, each once. Raises `BadPlan`, naming the unknown."""
    found = list(dict.fromkeys(_parts(option, text, ",".join(list(known)[:2]))))
    for name in found:
        if name not in known:
            raise BadPlan(f"{option}: {name!r} is not in the table; known are {', '.join(known)}.")
    return found


def trace(
    limits: Sequence[Limit], solve: Callable[[Limit], Retrofit], findings: list[str]
) -> tuple[Point, ...]:
    """The front: a limit that no choice keeps is a finding, and the others are answered."""
    found: list[tuple[Limit, Retrofit]] = []
    for limit in limits:
        try:
            found.append((limit, solve(limit)))
        except BadPlan as error:
            findings.append(f"no point at {limit.words}: {error}")
    answers = [one for _, one in found]
    return tuple(_point(one, answers, limit) for limit, one in found)


def _point(one: Retrofit, others: Sequence[Retrofit], limit: Limit) -> Point:
    mine, model = _key(one), _model(one)
    beaten = any(
        _key(other) != mine and all(a <= b for a, b in zip(_key(other), mine, strict=True))
        for other in others
        if _model(other) == model
    )
    return Point(
        server=limit.server,
        model=model,
        new_sites=one.measures.new_sites,
        budget_usd=limit.budget_usd,
        cost=one.cost,
        bound=one.bound,
        gap=one.gap,
        proof=one.proof,
        measures=one.measures,
        is_dominated=beaten,
    )


def _key(point: Retrofit) -> tuple[float, float, float, float]:
    found = point.measures
    return found.unserved_share, found.ttft_ms_mean, -found.near_share, found.usd_per_year


def _model(point: Retrofit) -> str:
    return HARDWARE[point.question.server.preset].model
