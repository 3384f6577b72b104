"""Why a class may, or may not, be treated so at a site: fences, clauses of the policy, list rows.

The policy engine is asked again, with the facts that the release was compiled from, so that the
clauses that decided can be named. The rows of the list are those by which the site came to its
groups and its instruments of transfer.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import msgspec

from selvedge.adapters import read_policies
from selvedge.fabric import Release
from selvedge.residency import (
    ASKED,
    Answer,
    Asked,
    Fence,
    Jurisdictions,
    Site,
    Verdicts,
    Written,
    day_at,
    day_us,
    expected,
    facts_of,
)


class Clauses(msgspec.Struct, frozen=True):
    """What the policy's own clauses say of one act, on the day and at publication."""

    permits: tuple[str, ...]
    forbids: tuple[str, ...]
    at_publication: bool
    """Whether the policy allowed it when the release was made; what widens later waits."""
    on_the_day: bool


class Why(msgspec.Struct, frozen=True):
    """One act."""

    act: Asked
    allowed: bool
    fences: tuple[Fence, ...]
    clauses: Clauses | None
    """None: the class names no rule of a policy, or it is `entry`, which is several acts."""


class ListRow(msgspec.Struct, frozen=True):
    """A row of the list of jurisdictions that is about this site."""

    what: str
    since: str
    until: str
    source: str


class Explained(msgspec.Struct, frozen=True):
    """All of it."""

    tenant: str
    data_class: str
    site: str
    country: str
    day: str
    zone: str
    ingress: str
    policy: str | None
    """The rule of the policy that the class names."""
    version: str | None
    acts: tuple[Why, ...]
    seen: Site | None
    """What the policy sees of the site on that day."""
    rows: tuple[ListRow, ...]


class Asking(NamedTuple):
    """One class at one site on one day."""

    named: tuple[str, str]
    site: str
    day: date


def explain(release: Release, lists: Jurisdictions | None, asking: Asking) -> Explained:
    """Everything that is known of it. Raises `BadRelease` of a release whose policy is damaged."""
    verdicts = Verdicts(release)
    kind, pop = verdicts.classes[asking.named], verdicts.sites[asking.site]
    at_us = max(day_us(asking.day), 0)
    if day_at(release.made_us) == asking.day:
        at_us = release.made_us  # it was not published yet when the day began
    policy = release.policy if kind.policy is not None else None
    seen, answers, written = None, dict[str, tuple[Answer, ...]](), None
    if policy is not None and kind.policy is not None:
        facts, written = facts_of(policy), read_policies(policy.text)
        seen = facts.site(asking.site, at_us)
        answers = dict(expected(written, facts, kind.policy, asking.site, at_us))
    acts = []
    for act in ASKED:
        verdict = verdicts.decide(asking.named, asking.site, act, at_us)
        clauses = _clauses(answers[act], written) if written and act in answers else None
        acts.append(Why(act, verdict.allowed, verdict.fences, clauses))
    return Explained(
        tenant=asking.named[0],
        data_class=asking.named[1],
        site=asking.site,
        country=pop.country,
        day=asking.day.isoformat(),
        zone=kind.zone,
        ingress=kind.ingress,
        policy=kind.policy,
        version=policy.version if policy is not None else None,
        acts=tuple(acts),
        seen=seen,
        rows=tuple(_rows(lists, seen, asking.day)) if lists is not None and seen else (),
    )


def _clauses(answers: tuple[Answer, ...], written: Written) -> Clauses:
    """``answers`` are those of the day and, where the site was seen otherwise, at publication."""
    names = {one.name: one.permits for one in written.clauses}
    said = sorted({reason for one in answers for reason in one.reasons})
    return Clauses(
        permits=tuple(one for one in said if names.get(one)),
        forbids=tuple(one for one in said if not names.get(one, True)),
        at_publication=answers[-1].allowed,
        on_the_day=answers[0].allowed,
    )


def _rows(lists: Jurisdictions, seen: Site, day: date) -> Iterator[ListRow]:
    for name in seen.groups:
        group = lists.groups.get(name)
        for row in group.members if group is not None else ():
            inner = row.group is not None and seen.country in lists.group(row.group, day)
            if (seen.country in row.countries or inner) and _holds(row.since, row.until, day):
                through = f" through {row.group}" if row.group is not None else ""
                what = f"{seen.country} is in {name}{through}"
                yield ListRow(
                    what, _word(row.since), _word(row.until), group.source if group else ""
                )
    countries = {seen.country, *seen.reach}
    if len(countries) > _COUNTRIES_MAX:
        return  # nobody knows who can reach it: no instrument holds
    for transfer in lists.transfers:
        named = set(transfer.countries) | {
            country
            for one in transfer.countries
            if one in lists.groups
            for country in lists.group(one, day)
        }
        to = sorted(countries & named)
        if to and _holds(transfer.since, transfer.until, day):
            narrowed = [
                f"{name} {value}"
                for name, value in (
                    ("entity", transfer.entity),
                    ("certificate", transfer.certificate),
                    ("sector", transfer.sector),
                )
                if value is not None
            ]
            only = f", only {', '.join(narrowed)}" if narrowed else ""
            what = f"{transfer.regime}/{transfer.instrument} to {', '.join(to)}{only}"
            yield ListRow(what, _word(transfer.since), _word(transfer.until), transfer.source)


_COUNTRIES_MAX = 50


def _holds(since: date | None, until: date | None, day: date) -> bool:
    return (since is None or since <= day) and (until is None or day < until)


def _word(day: date | None) -> str:
    return day.isoformat() if day is not None else "-"
