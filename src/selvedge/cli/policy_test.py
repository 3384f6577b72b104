"""``selvedge policy test``: cases that a policy is held to, from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import CaseConfig, listed, read_cases
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.policy_place import FILE, Day, Placed, class_of, place, site_of, today
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.fabric import BadRelease, Release, SelvedgeError
from selvedge.residency import Verdicts, day_us


class Result(msgspec.Struct, frozen=True):
    """One case, and what came of it."""

    case: int
    """The row of the file, from 1."""
    data_class: str
    site: str
    act: str
    day: str
    expected: str
    found: str
    why: str
    note: str

    @property
    def holds(self) -> bool:
        """Whether it is as expected."""
        return self.expected == self.found


@click.command()
@click.argument("cases", type=FILE)
@click.option("--fleet", type=FILE, help="A fleet file, or a signed release. Default: --home's.")
@click.option("--published", type=Day(), help="As if published then. Default: as the file says.")
@click.option("-v", "--verbose", is_flag=True, help="Show the cases that hold as well.")
@home_option
@json_option
def test(
    *,
    cases: Path,
    fleet: Path | None,
    published: date | None,
    verbose: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Hold a fleet's residency to the CASES of a file; exit code 1 if any is otherwise."""
    found = read_cases(cases)
    results: list[Result] = []
    placed: dict[date, Placed] = {}
    for number, case in enumerate(found.cases, 1):
        day = case.day or published or found.published or today()
        made = min(published or found.published or today(), day)
        if made not in placed:
            placed[made] = place(fleet, home, made)
        try:
            results += _run(number, case, day, placed[made].release)
        except SelvedgeError as error:
            raise BadRelease(f"{cases}: cases[{number - 1}]", str(error)) from error
    failed = [one for one in results if not one.holds]
    if as_json:
        facts = {"cases": len(results), "failed": len(failed), "results": results}
        click.echo(printable(msgspec.json.encode(facts).decode()))
    else:
        _show(results if verbose else failed)
        state = "all hold" if not failed else f"{len(failed)} do not hold"
        console().print(f"{len(results)} cases: {state}")
    sys.exit(1 if failed else 0)


def _run(number: int, case: CaseConfig, day: date, release: Release) -> Iterator[Result]:
    verdicts = Verdicts(release)
    at_us = max(day_us(day), release.made_us)
    sites = _sites(case, release)
    acts = [case.act] if isinstance(case.act, str) else case.act
    for written in listed(case.data_class):
        named = class_of(release, written)
        for site in sites:
            for act in acts:
                verdict = verdicts.decide(named, site, act, at_us)
                why = "; ".join(one.why for one in verdict.fences if not one.allowed)
                word = "allow" if verdict.allowed else "deny"
                why = why or "; ".join(one.why for one in verdict.fences)
                yield Result(
                    number, written, site, act, day.isoformat(), case.expect, word, why, case.note
                )


def _sites(case: CaseConfig, release: Release) -> list[str]:
    if case.site is not None:
        return [site_of(release, one) for one in listed(case.site)]
    found = []
    for country in listed(case.country or []):
        there = [one.id for one in release.sites if one.country == country]
        if not there:
            raise SelvedgeError(f"no site of the fleet is in {country!r}")
        found += there
    return found


def _show(results: list[Result]) -> None:
    if not results:
        return
    table = Table(box=None, pad_edge=False, width=100)
    for name in ("case", "class", "site", "act", "day", "expected", "found", "why"):
        table.add_column(name, overflow="fold")
    for one in results:
        why = f"{one.why} ({one.note})" if one.note else one.why
        cells = (str(one.case), one.data_class, one.site, one.act, one.day, one.expected)
        table.add_row(*(escape(printable(cell)) for cell in (*cells, one.found, why)))
    console().print(table)
