"""Levels: the tenants, projects and keys of a release that have limits.

What a holder keeps of a level hangs on the level itself: a request finds its key, and with it all
that it must fit under, without looking up a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from selvedge.fabric import NO_LIMITS, Key, Limits, Project, Release, Tenant, tightest
from selvedge.ledger.budgets import limits_of
from selvedge.ledger.shares import Budget


class Kept:
    """What a holder has of one level in use, until it forgets it."""

    __slots__ = ("budgets", "holder", "level")

    def __init__(self, holder: object, level: Level, budgets: tuple[Budget, ...]) -> None:
        self.holder: object | None = holder
        """None: forgotten, or in other hands."""
        self.level = level
        self.budgets = budgets


class Level:
    """One level that has limits. Its name begins with what it is: ``key/``, ``project/`` ..."""

    __slots__ = ("kept", "limits", "name")

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.kept: Kept | None = None


class Levels:
    """The levels of a release that have limits: of a key, and all of them."""

    __slots__ = ("_above", "_projects", "_tenants")

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
        """The levels of a key that have limits, its own first, made anew."""
        above = self._of_project(key)
        return (Level(f"key/{key.id}", key.limits), *above) if key.limits != NO_LIMITS else above

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
