"""Levels, budgets and their windows: what a limit is of, and when it begins again.

A **level** is a tenant, a project or a key; a **budget** is one limit at one level. Windows are
UTC's minutes, days and months, each whole. All is integers: microseconds, tokens, micro-dollars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from selvedge.fabric import (
    NO_LIMITS,
    Key,
    Limits,
    Price,
    Project,
    Release,
    Tenant,
    Usage,
    tightest,
)
from selvedge.fabric.value import Value

REQUESTS: Final = 0
TOKENS: Final = 1
CONCURRENT: Final = 2
DAY: Final = 3
MONTH: Final = 4
KINDS: Final = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_requests",
    "micro_dollars_per_day",
    "micro_dollars_per_month",
)
"""Names of limits, by kind of budget."""

MINUTE_US: Final = 60_000_000
DAY_US: Final = 24 * 60 * MINUTE_US
PER: Final = 1_000_000
"""Prices are per so many tokens."""


class Level(Value, frozen=True):
    """One level that has limits. Its name begins with what it is: ``key/``, ``project/`` ..."""

    name: str
    limits: Limits


def limits_of(limits: Limits) -> tuple[int | None, ...]:
    """The limits of a level, by kind of budget."""
    return (
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        limits.micro_dollars_per_day,
        limits.micro_dollars_per_month,
    )


class Levels:
    """The levels of a release that have limits: of a key, and all of them."""

    __slots__ = ("_above", "_own", "_projects", "_tenants")

    def __init__(self, tenants: Iterable[Tenant], projects: Iterable[Project]) -> None:
        self._tenants: dict[str, Level] = {}
        for tenant in tenants:
            if tenant.limits != NO_LIMITS:
                self._tenants[tenant.id] = Level(f"tenant/{tenant.id}", tenant.limits)
        self._projects: dict[tuple[str, str], Level] = {}
        for project in projects:
            if project.limits != NO_LIMITS:
                name = f"project/{project.tenant}/{project.id}"
                self._projects[project.tenant, project.id] = Level(name, project.limits)
        self._above: dict[tuple[str, str], tuple[Level, ...]] = {}
        self._own: dict[str, tuple[Key, tuple[Level, ...]]] = {}

    def lowered(self, lower: Mapping[tuple[str, str], Limits]) -> Levels:
        """The same, with these limits where they are lower: by tenant and project, or tenant and
        nothing.
        """
        found = Levels((), ())
        found._tenants = dict(self._tenants)
        found._projects = dict(self._projects)
        for (tenant, project), limits in lower.items():
            if project:
                name = f"project/{tenant}/{project}"
                level = self._projects.get((tenant, project))
                found._projects[tenant, project] = _lower(level, name, limits)
            else:
                level = self._tenants.get(tenant)
                found._tenants[tenant] = _lower(level, f"tenant/{tenant}", limits)
        return found

    def of(self, key: Key) -> tuple[Level, ...]:
        """The levels of a key that have limits: made when it is first asked for, then kept."""
        if key.limits is NO_LIMITS:
            return self._of_project(key)
        own = self._own.get(key.id)
        if own is None or own[0] is not key:
            found = self._of_project(key)
            if key.limits != NO_LIMITS:
                found = (Level(f"key/{key.id}", key.limits), *found)
            own = self._own[key.id] = (key, found)
        return own[1]

    def _of_project(self, key: Key) -> tuple[Level, ...]:
        at = (key.tenant, key.project)
        found = self._above.get(at)
        if found is None:
            levels = (self._projects.get(at), self._tenants.get(key.tenant))
            found = self._above[at] = tuple(one for one in levels if one is not None)
        return found

    def above(self) -> Iterator[Level]:
        """The levels above keys."""
        yield from self._tenants.values()
        yield from self._projects.values()


def _lower(level: Level | None, name: str, limits: Limits) -> Level:
    if level is None:
        return Level(name, limits)
    lower = tightest(level.limits, limits)
    return level if lower == level.limits else Level(name, lower)


def budgets_of(release: Release, keys: Iterable[Key] = ()) -> dict[tuple[str, int], int]:
    """Every limit of a release, by level and kind; ``keys`` are otherwise or new since."""
    levels = list(Levels(release.tenants, release.projects).above())
    levels += [Level(f"key/{key.id}", key.limits) for key in (*release.keys, *keys)]
    found: dict[tuple[str, int], int] = {}
    for level in levels:
        for kind, limit in enumerate(limits_of(level.limits)):
            if limit is not None:
                found[level.name, kind] = limit
    return found


def window_of(kind: int, at_us: int) -> int:
    """The number of the window that a moment lies in; concurrency has one for ever."""
    if kind <= TOKENS:
        return at_us // MINUTE_US
    if kind == CONCURRENT:
        return 0
    day = at_us // DAY_US
    return day if kind == DAY else month_of(day)


def window_end_us(kind: int, at_us: int) -> int:
    """When the window that a moment lies in is over; for concurrency: now."""
    if kind <= TOKENS:
        return (at_us // MINUTE_US + 1) * MINUTE_US
    if kind == CONCURRENT:
        return at_us
    day = at_us // DAY_US
    return (day + 1 if kind == DAY else first_day(month_of(day) + 1)) * DAY_US


def month_of(day: int) -> int:
    """The number of the month, years * 12 + months, of a day since 1970 (Hinnant's algorithm)."""
    shifted = day + 719_468
    era, of_era = divmod(shifted, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    from_march = (5 * of_year + 2) // 153
    return (era * 400 + year) * 12 + from_march + 2


def first_day(month: int) -> int:
    """The first day, since 1970, of a month by that number."""
    years, from_march = divmod(month - 2, 12)
    era, year = divmod(years, 400)
    of_era = year * 365 + year // 4 - year // 100 + (153 * from_march + 2) // 5
    return era * 146_097 + of_era - 719_468


def cost_of(price: Price, usage: Usage) -> int:
    """What a usage costs, in whole micro-dollars, the last begun one counted."""
    read = price.input if price.cached is None else price.cached
    total = (
        (usage.input_uncached + usage.cache_write) * price.input
        + usage.cache_read * read
        + usage.generated * price.output
    )
    return -(-total // PER)


class Estimate(Value, frozen=True):
    """What one request may use: reserved before, settled after."""

    tokens: int
    micro_dollars: int


def estimate_of(price: Price | None, prompt_tokens: int, output_tokens: int) -> Estimate:
    """The estimate of a request, none of its prompt taken as cached."""
    money = 0
    if price is not None:
        money = -(-(prompt_tokens * price.input + output_tokens * price.output) // PER)
    return Estimate(prompt_tokens + output_tokens, money)
