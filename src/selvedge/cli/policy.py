"""``selvedge policy``: who may treat whose data how and where; shown, checked, tested."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import read_policies
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.policy_diff import diff
from selvedge.cli.policy_explain import explain
from selvedge.cli.policy_place import FILE, Day, place
from selvedge.cli.policy_simulate import simulate
from selvedge.cli.policy_test import test
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.fabric import Release
from selvedge.residency import ASKED, Verdicts, day_at, day_us, strandings


@click.group()
def policy() -> None:
    """Residency: test, explain, diff, simulate, show, check."""


for command in (test, explain, diff, simulate):
    policy.add_command(command)


@policy.command()
@click.argument("fleet", type=FILE)
@click.option("--published", type=Day(), help="As if published on this day. Default: today.")
@click.option("--force", is_flag=True, help="A class without any place is a remark, no error.")
@home_option
@json_option
def check(*, fleet: Path, published: date | None, force: bool, home: Path, as_json: bool) -> None:
    """Check the policies of FLEET; the first thing wrong is one line and exit code 1."""
    placed = place(fleet, home, published, force=force)
    release = placed.release
    stranded = [one for one in strandings(release) if not one.is_now]
    facts = {
        "policy": release.policy.version if release.policy is not None else None,
        "rules": len({one.rule for one in release.policy.rules}) if release.policy else 0,
        "classes": sum(len(tenant.classes) for tenant in release.tenants),
        "remarks": placed.remarks,
        "stranded_later": stranded,
    }
    if as_json:
        click.echo(printable(msgspec.json.encode(facts).decode()))
        return
    out = console()
    for words in placed.remarks:
        out.print(escape(printable(f"remark: {words}")))
    version = facts["policy"] or "none: zones alone decide"
    words = f"{fleet}: {facts['classes']} classes, {facts['rules']} rules, policy {version}"
    out.print(escape(printable(f"{words}: it holds")))


@policy.command()
@click.argument("fleet", type=FILE, required=False)
@click.option("--day", type=Day(), help="What holds on this UTC day. Default: when published.")
@click.option("--published", type=Day(), help="As if published on this day. Default: today.")
@home_option
@json_option
def show(
    *, fleet: Path | None, day: date | None, published: date | None, home: Path, as_json: bool
) -> None:
    """Show where each class of FLEET (a file, or the serving release) may be treated how."""
    placed = place(fleet, home, published)
    release = placed.release
    at_us = release.made_us if day is None else max(day_us(day), 0)
    rows = _rows(release, at_us)
    clauses = _clauses(release)
    moments = sorted({one.from_us for one in release.policy.rules}) if release.policy else []
    changes = [day_at(one).isoformat() for one in moments if one > release.made_us]
    if as_json:
        facts = {"classes": rows, "clauses": clauses, "changes": changes}
        click.echo(printable(msgspec.json.encode(facts).decode()))
        return
    out = console()
    out.print(escape(printable(f"{placed.name}, on {day_at(at_us)}: PoPs by act")))
    table = Table(box=None, pad_edge=False, width=100)
    table.add_column("class", no_wrap=True)
    table.add_column("zone, ingress, policy, handling", overflow="fold")
    for name in ASKED:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        under = ", ".join((row.zone, row.ingress, row.policy or "-", *row.handling))
        counts = (str(row.pops[act]) for act in ASKED)
        table.add_row(*(escape(printable(one)) for one in (row.name, under, *counts)))
    out.print(table)
    for one in clauses:
        rules = ", ".join(one.rules) or "any rule"
        effect = "permit" if one.permits else "forbid"
        out.print(escape(printable(f"{effect} {one.name}: {rules}")))
    if changes:
        out.print(f"what is allowed changes on {', '.join(changes)}")


class _ClassRow(msgspec.Struct, frozen=True, rename={"name": "class"}):
    """One class, and at how many PoPs each act is allowed."""

    name: str
    zone: str
    ingress: str
    policy: str | None
    handling: tuple[str, ...]
    pops: dict[str, int]


class _ClauseRow(msgspec.Struct, frozen=True):
    """One clause of the policy, and the rules that it names."""

    name: str
    permits: bool
    rules: tuple[str, ...]


def _rows(release: Release, at_us: int) -> list[_ClassRow]:
    verdicts = Verdicts(release)
    return [
        _ClassRow(
            name="/".join(named),
            zone=kind.zone,
            ingress=kind.ingress,
            policy=kind.policy,
            handling=kind.handling,
            pops={act: len(verdicts.allowed(named, act, at_us)) for act in ASKED},
        )
        for named, kind in sorted(verdicts.classes.items())
    ]


def _clauses(release: Release) -> list[_ClauseRow]:
    if release.policy is None:
        return []
    written = read_policies(release.policy.text)
    return [
        _ClauseRow(one.name, one.permits, tuple(sorted(one.mentions))) for one in written.clauses
    ]
