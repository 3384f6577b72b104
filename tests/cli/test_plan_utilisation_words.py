"""What `selvedge plan utilisation` shows on a terminal of many jurisdictions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from selvedge.cli.plan_utilisation import groups_table

Rows = Sequence[Mapping[str, Any]]


class Tables:
    """As a report gives them."""

    def __init__(self, **tables: Rows) -> None:
        self._tables = tables

    def rows(self, name: str) -> Rows:
        """A table's rows."""
        return self._tables.get(name, [])


def tables(count: int) -> Tables:
    """So many jurisdictions, the last with most free, and the fleet."""
    names = [("jurisdiction", f"j{number:02}") for number in range(count)] + [("fleet", "fleet")]
    groups, together = [], []
    for number, (level, name) in enumerate(names):
        known = {"level": level, "name": name}
        use = {"mean_use": 0.4, "p95_use": 0.6, "night_use": 0.3}
        groups.append({**known, **use, "pops": 1, "samples": 9, "expected": 10})
        free = {"own_sum_bps_95": number * 1e9, "simultaneous_bps_95": number * 2e9}
        together.append({**known, **free})
    return Tables(groups=groups, together=together)


def shown(count: int) -> list[str]:
    text = io.StringIO()
    Console(width=100, file=text).print(groups_table(tables(count)))
    return text.getvalue().splitlines()


def test_those_with_most_free_come_first_and_the_fleet_last() -> None:
    lines = shown(3)
    assert [line.split()[0] for line in lines[-4:]] == ["j02", "j01", "j00", "fleet,"]


def test_a_long_table_says_what_it_leaves_out() -> None:
    lines = shown(25)
    assert "20 jurisdictions with most free, 5 not shown" in " ".join(" ".join(lines).split())
    assert [line.split()[0] for line in lines[-21:]] == [
        *(f"j{number:02}" for number in range(24, 4, -1)),
        "fleet,",
    ]
