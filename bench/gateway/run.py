"""One run, from the first process started to the last one stopped."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.figures import OUT
from bench.gateway.cases import Case, measure, short_cases
from bench.gateway.crowd import LONG, QUICK, SHORT, STREAMS, open_crowd
from bench.gateway.found import Found
from bench.gateway.install import Tools
from bench.gateway.processes import BenchFailed, Cores
from bench.gateway.results import SATURATION, fold, med, value
from bench.gateway.rounds import Plan, Rounds
from bench.gateway.stages import (
    by_py_spy,
    by_signal,
    fold_stacks,
    sample_stacks,
    sampler_env,
    scaled,
)
from bench.gateway.targets import Bench, Target, open_bench, started

STAGES_S = 5.0
PURE = "selvedge-interpreted"


def run(plan: Plan, tools: Tools, cores: Cores, console: Console) -> Found:
    """Start every target, measure, stop them; then a fresh PoP for the crowd of streams."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gateway-run-", dir=OUT) as directory:
        with contextlib.ExitStack() as stack:
            bench, direct = stack.enter_context(open_bench(tools, cores, Path(directory)))
            targets = {"direct": direct}
            for name in plan.targets:
                with console.status(f"starting {name}"):
                    targets[name] = stack.enter_context(started(bench, name))
            rounds = Rounds(bench, targets, plan.scale)
            rounds.run(plan.cases, plan.rounds, console)
            found = Found(rounds.samples, fold(rounds.samples), targets)
            if "stages" in plan.parts and "selvedge" in targets:
                with (
                    console.status("sampling stacks"),
                    said(console, "stages"),
                    # A profiler sees nothing inside what is compiled.
                    pure(bench, targets) as target,
                ):
                    take_stages(bench, target, plan, found)
        if "crowd" in plan.parts:
            with open_bench(tools, cores, Path(directory)) as (bench, _):
                take_crowds(bench, plan, found, console)
    add_memory(found)
    return found


@contextlib.contextmanager
def said(console: Console, part: str) -> Iterator[None]:
    """Say what failed and go on: what was measured by then is worth keeping."""
    try:
        yield
    except BenchFailed as error:
        console.print(f"[red]{part}[/red] left out: {error}")


@contextlib.contextmanager
def pure(bench: Bench, targets: dict[str, Target]) -> Iterator[Target]:
    """The PoP that is not compiled: the one that runs, or one for this."""
    if PURE in targets:
        yield targets[PURE]
    else:
        with started(bench, PURE) as target:
            yield target


def take_crowds(bench: Bench, plan: Plan, found: Found, console: Console) -> None:
    """The crowd of streams: our PoP's, in the long form everyone's, each freshly started."""
    chunks = LONG if plan.long else SHORT if plan.scale >= 1 else QUICK
    for name in plan.targets:
        if name == "selvedge" or plan.long:
            with (
                console.status(f"{STREAMS} streams of {chunks} chunks through {name}"),
                said(console, f"crowd of {name}"),
                started(bench, name) as target,
            ):
                found.crowds.append(open_crowd(bench, target, chunks))


def take_stages(bench: Bench, target: Target, plan: Plan, found: Found) -> None:
    """Microseconds by stage, of a request and of a chunk."""
    by_name = {one.name: one for one in short_cases()}
    for case, key in ((SATURATION, "cpu_us_per_request"), ("paced", "cpu_us_per_chunk")):
        cpu_us = med(found.samples, case, target.name, key)
        if cpu_us is None:
            sample = measure(bench, target, by_name[case], 0, scale=plan.scale)
            cpu_us = value(sample, key)
        stacks, sampler = _stacks(bench, target, by_name[case], max(1.0, STAGES_S * plan.scale))
        found.stages[key] = scaled(fold_stacks(stacks), cpu_us)
        found.sampler = sampler


def _stacks(bench: Bench, target: Target, case: Case, seconds: float) -> tuple[list[str], str]:
    """Stacks by py-spy; by our own sampler, in a PoP of its own, where py-spy may not look."""
    try:
        return sample_stacks(bench, target, case, seconds, by_py_spy(bench, target)), "py-spy"
    except BenchFailed:
        path = bench.directory / f"sampled-{case.name}"
        with started(bench, PURE, sampler_env(path)) as own:
            return sample_stacks(bench, own, case, seconds, by_signal(own, path)), "signal"


def add_memory(found: Found) -> None:
    """Figures of start, memory and crowd."""
    ours = found.targets.get("selvedge")
    if ours is not None:
        found.figures["rss_mb_idle"] = round(max(ours.rss_idle) / 1e6, 1)
        found.figures["start_s"] = round(ours.start_s, 3)
    for crowd in found.crowds:
        if crowd.target == "selvedge":
            found.figures["streams_2000_errors"] = crowd.errors
            found.figures["rss_kb_per_stream"] = round(crowd.kb_per_stream, 1)
