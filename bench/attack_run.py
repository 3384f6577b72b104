"""`make torture ARGS=attack`: the attack list with counts tried and what each class got.

Three parts: the kept corpus on every road, slow attacks on a real PoP, and schemathesis over its
document. Programs of the system are installed by apt where this runs as root; what is absent is
left out, and said so.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.attack import OUTCOMES, Result, attack_all, roads_here
from bench.attack_fronts import find
from bench.attack_recorders import Message
from bench.attack_schema import attack_by_schema
from bench.attack_slow import attack_slowly
from bench.attack_stage import stage
from bench.figures import Figures
from tests.attack.corpus import ATTACKS
from tests.wire.test_http1_h11 import read_h11

PROGRAMS = {"nginx": "nginx-light", "haproxy": "haproxy", "slowhttptest": "slowhttptest"}


def install(console: Console) -> None:
    """Install what is missing, where that is possible."""
    missing = [package for name, package in PROGRAMS.items() if find(name) is None]
    if missing and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", "-qq", *command], check=False, stdout=subprocess.DEVNULL)
    for name in PROGRAMS:
        if find(name) is None:
            console.print(f"[yellow]left out[/yellow]: {name} is not installed")


def run_attack(console: Console, *, show: bool = True) -> tuple[Figures, bool]:
    """All parts: the figures, and whether every bar was met."""
    install(console)
    with (
        tempfile.TemporaryDirectory(prefix="selvedge-attack-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_all_parts(Path(directory), console, show))


async def _all_parts(directory: Path, console: Console, show: bool) -> tuple[Figures, bool]:
    roads = roads_here()
    corpus = await attack_all(ATTACKS, roads, directory, _cut)
    for words in corpus.differing:
        console.print(f"[red]differs[/red] {words}", markup=True)
    slow: dict[str, Figures] = {}
    async with stage(directory / "stage") as at:
        if find("slowhttptest") is not None:
            slow = await attack_slowly(at)
        schema, report = await attack_by_schema(at, directory)
    if schema["failures"]:
        console.print(report, markup=False)
    if show:
        _show(console, corpus, roads, slow, schema)
    figures = _flat(corpus, roads, slow, schema)
    met = (
        not corpus.differing
        and schema["failures"] == 0
        and schema["faults"] == 0
        and all(one["failed"] == 0 and one["available"] == "YES" for one in slow.values())
    )
    return figures, met


def _cut(raw: bytes) -> list[Message]:
    messages, _ = read_h11(raw)
    return [(one[0], one[1], one[4]) for one in messages if one[5]]


def _flat(
    corpus: Result, roads: tuple[str, ...], slow: dict[str, Figures], schema: Figures
) -> Figures:
    figures: Figures = {"attacks": len(ATTACKS), "roads": len(roads), "tried": corpus.tried}
    for road in roads:
        for outcome in OUTCOMES:
            name = outcome.replace(" ", "_")
            figures[f"{road}_{name}"] = corpus.count(road, outcome)
    for kind, found in slow.items():
        figures |= {f"{kind.replace(' ', '_')}_{name}": one for name, one in found.items()}
    return figures | {f"schema_{name}": value for name, value in schema.items()}


def _show(
    console: Console,
    corpus: Result,
    roads: tuple[str, ...],
    slow: dict[str, Figures],
    schema: Figures,
) -> None:
    out = Console(highlight=False, width=160)
    table = Table("class", "road", "tried", *OUTCOMES, box=None, pad_edge=False)
    for kind in sorted({one.kind for one in ATTACKS}):
        for road in roads:
            found = corpus.outcomes[kind, road]
            counts = (str(found[outcome]) for outcome in OUTCOMES)
            table.add_row(kind, road, str(found.total()), *counts)
    out.print(table)
    names = list(next(iter(slow.values()), {}))
    table = Table("meanwhile", *names, box=None, pad_edge=False)
    for kind, one in slow.items():
        table.add_row(kind, *(str(one[name]) for name in names))
    out.print(table)
    words = ", ".join(f"{name} {value}" for name, value in schema.items())
    out.print(f"schemathesis: {words}")
