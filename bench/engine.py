"""What the fabric costs: an engine asked directly, through one PoP, and through two.

The three roads take turns, in random order within each triple, with the same greedy request and a
warm prompt cache, so that what else the machine does falls on all of them alike. Two measures:
tokens per second of whole streamed answers of one length, as the median of paired ratios; and what
a hop adds to the time to first token of a fully cached prompt, as a difference of medians.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from random import Random
from statistics import median

import click
import uvloop
from rich.console import Console
from rich.progress import Progress

from bench.figures import (
    Figures,
    as_json,
    bar,
    circumstances,
    difference_interval,
    median_interval,
    print_table,
    quantile,
    write_figures,
)
from bench.line import Heard, Line, open_line, post
from selvedge.adapters import default_cache_dir, read_config
from selvedge.control import Home, LocalFabric, Running

FLEET = Path(__file__).parent / "fleet.yaml"
MODEL = "smollm2-135m-instruct"
PATH = "/v1/chat/completions"
PROMPT = "Tell the long story of a weaver in Singapore and her grandmother's loom."
ROADS = ("direct", "pop", "two_hops")
RATIO_POP_MIN = 0.97
RATIO_TWO_HOPS_MIN = 0.95
TTFT_ADDED_MS_MAX = 2.0
ASK_S_MAX = 120.0
WARM_ROUNDS = 5
QUIET_LOAD_MAX = 0.5  # per CPU, before anything is started

TOKEN = re.compile(rb'"content":"[^"]')
_USAGE = re.compile(rb'"completion_tokens":(\d+)')
_PROMPT = re.compile(rb'"prompt_tokens":(\d+)')
_CACHED = re.compile(rb'"cached_tokens":(\d+)')


class BenchFailed(Exception):
    """An answer was not what the measurement needs."""


@dataclass(slots=True)
class Road:
    """One way to the engine: its requests as bytes, and its connection."""

    name: str
    port: int
    whole: bytes
    first: bytes
    line: Line | None = None

    async def ask(self, request: bytes) -> Heard:
        """One answer. The connection is made before the clock starts; a stale one is replaced."""
        async with asyncio.timeout(ASK_S_MAX):
            for _ in range(3):
                if self.line is None or not self.line.is_open:
                    self.line = await open_line(self.port)
                heard = await self.line.ask(request)
                if heard.parts:
                    return heard
        raise BenchFailed(f"{self.name}: the connection closed without an answer, again and again")


@dataclass(slots=True)
class Samples:
    """What was measured, by road; the n-th of each road belong together."""

    tokens_per_s: dict[str, list[float]] = field(default_factory=lambda: {r: [] for r in ROADS})
    ttft_ms: dict[str, list[float]] = field(default_factory=lambda: {r: [] for r in ROADS})


def request_body(tokens: int) -> bytes:
    """A greedy, streamed request whose answer has exactly so many tokens."""
    return json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": tokens,
            "temperature": 0,
            "seed": 1,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()


def make_roads(running: Running, key: str, tokens: int) -> list[Road]:
    """The three roads of a running fabric."""
    urls = {
        "direct": running.pops["sin"].engines["sin-chat"],
        "pop": running.pops["sin"].url,
        "two_hops": running.pops["cgk"].url,
    }
    roads = []
    for name, url in urls.items():
        port = int(url.rpartition(":")[2])
        secret = None if name == "direct" else key
        whole, first = (post(PATH, port, request_body(count), secret) for count in (tokens, 1))
        roads.append(Road(name, port, whole, first))
    return roads


def check(road: Road, heard: Heard, tokens: int, *, cached: bool) -> None:
    """Raises `BenchFailed` unless the answer is whole, of this length, its prompt cached."""
    raw = heard.raw
    usage, prompt, hit = (_last(pattern, raw) for pattern in (_USAGE, _PROMPT, _CACHED))
    if heard.status != 200 or not heard.whole or usage != tokens:
        raise BenchFailed(f"{road.name}: not {tokens} tokens: {raw[-500:]!r}")
    if cached and hit < prompt - 1:
        raise BenchFailed(f"{road.name}: {hit} of {prompt} prompt tokens were cached")


def _last(pattern: re.Pattern[bytes], raw: bytes) -> int:
    found = pattern.findall(raw)
    return int(found[-1]) if found else -1


async def measure(
    roads: Sequence[Road], tokens: int, counts: tuple[int, int], rng: Random, progress: Progress
) -> Samples:
    """Warm up, then ``counts``: triples of whole answers, triples of first tokens."""
    triples, firsts = counts
    samples = Samples()
    for number in range(WARM_ROUNDS):
        for road in roads:
            check(road, await road.ask(road.first), 1, cached=number > 0)
    bar_whole = progress.add_task(f"answers of {tokens} tokens", total=triples * len(roads))
    bar_first = progress.add_task("first tokens", total=firsts * len(roads))
    for _ in range(triples):
        for road in rng.sample(roads, len(roads)):
            heard = await road.ask(road.whole)
            check(road, heard, tokens, cached=True)
            taken_s = (heard.ended_ns - heard.sent_ns) / 1e9
            samples.tokens_per_s[road.name].append(tokens / taken_s)
            progress.advance(bar_whole)
    for _ in range(firsts):
        for road in rng.sample(roads, len(roads)):
            heard = await road.ask(road.first)
            check(road, heard, 1, cached=True)
            first_ns = heard.first_ns(TOKEN)
            if first_ns is None:
                raise BenchFailed(f"{road.name}: no token in {heard.raw!r}")
            samples.ttft_ms[road.name].append((first_ns - heard.sent_ns) / 1e6)
            progress.advance(bar_first)
    return samples


def fold(samples: Samples, seed: int) -> Figures:
    """The samples as flat figures."""
    figures: Figures = {"pairs": len(samples.tokens_per_s["direct"])}
    direct = samples.tokens_per_s["direct"]
    for road in ROADS:
        figures[f"tokens_per_s_{road}"] = round(median(samples.tokens_per_s[road]), 3)
    for road in ROADS[1:]:
        ratios = [a / b for a, b in zip(samples.tokens_per_s[road], direct, strict=True)]
        low, high = median_interval(ratios, seed)
        figures[f"tokens_per_s_ratio_{road}"] = round(median(ratios), 5)
        figures[f"tokens_per_s_ratio_{road}_ci_low"] = round(low, 5)
        figures[f"tokens_per_s_ratio_{road}_ci_high"] = round(high, 5)
    figures["ttft_samples"] = len(samples.ttft_ms["direct"])
    for road in ROADS:
        figures[f"ttft_{road}_ms_p50"] = round(median(samples.ttft_ms[road]), 3)
        figures[f"ttft_{road}_ms_p95"] = round(quantile(samples.ttft_ms[road], 0.95), 3)
    added = []
    for road, words in (("pop", "one_hop"), ("two_hops", "two_hops")):
        low, high = difference_interval(samples.ttft_ms[road], samples.ttft_ms["direct"], seed)
        added.append(median(samples.ttft_ms[road]) - median(samples.ttft_ms["direct"]))
        figures[f"ttft_added_ms_p50_{words}"] = round(added[-1], 3)
        figures[f"ttft_added_ms_p50_{words}_ci_low"] = round(low, 3)
        figures[f"ttft_added_ms_p50_{words}_ci_high"] = round(high, 3)
    # The dearer of the two hops: the one to the engine's PoP, and the one between PoPs.
    figures["ttft_added_ms_p50_per_hop"] = round(max(added[0], added[1] - added[0]), 3)
    return figures


def bars(figures: Figures) -> dict[str, bool]:
    """Which bars were met."""
    return {
        "tokens_per_s_ratio_pop": float(figures["tokens_per_s_ratio_pop"]) >= RATIO_POP_MIN,
        "tokens_per_s_ratio_two_hops": float(figures["tokens_per_s_ratio_two_hops"])
        >= RATIO_TWO_HOPS_MIN,
        "ttft_added_ms_p50_per_hop": float(figures["ttft_added_ms_p50_per_hop"])
        <= TTFT_ADDED_MS_MAX,
    }


async def run(tokens: int, counts: tuple[int, int], seed: int, console: Console) -> Figures:
    """Start a fabric in a temporary home, measure, stop it."""
    with tempfile.TemporaryDirectory(prefix="selvedge-bench-") as directory:
        home = Home(Path(directory))
        fabric = LocalFabric(home, read_config(FLEET), wan=False, any_port=True)
        try:
            with console.status("starting"):
                running = await fabric.start(default_cache_dir(), lambda _: None)
            roads = make_roads(running, home.keys()["bench"], tokens)
            with Progress(console=console) as progress:
                samples = await measure(roads, tokens, counts, Random(seed), progress)
            for road in roads:
                if road.line is not None:
                    road.line.close()
        finally:
            await fabric.stop()
    return fold(samples, seed)


def show(figures: Figures) -> None:
    """The table at the end."""
    met = bars(figures)

    def interval(name: str) -> str:
        return f"{figures[name]} ({figures[name + '_ci_low']} to {figures[name + '_ci_high']})"

    ratio, two, hop = (
        "tokens_per_s_ratio_pop",
        "tokens_per_s_ratio_two_hops",
        "ttft_added_ms_p50_per_hop",
    )
    rows = [(name, str(figures[name]), "") for name in (f"tokens_per_s_{r}" for r in ROADS)]
    rows.append((ratio, interval(ratio), bar(met[ratio], f">= {RATIO_POP_MIN}")))
    rows.append((two, interval(two), bar(met[two], f">= {RATIO_TWO_HOPS_MIN}")))
    rows += [(name, str(figures[name]), "") for name in (f"ttft_{r}_ms_p50" for r in ROADS)]
    for name in ("ttft_added_ms_p50_one_hop", "ttft_added_ms_p50_two_hops"):
        rows.append((name, interval(name), ""))
    rows.append((hop, str(figures[hop]), bar(met[hop], f"<= {TTFT_ADDED_MS_MAX}")))
    rows.append(
        ("load_1m, before and after", f"{figures['load_1m']}, {figures['load_1m_end']}", "")
    )
    print_table(f"{figures['pairs']} triples, {figures['ttft_samples']} first tokens each", rows)


@click.command()
@click.option("--triples", default=20, show_default=True, help="Triples of whole answers.")
@click.option("--tokens", default=128, show_default=True, help="Tokens of each whole answer.")
@click.option("--firsts", default=200, show_default=True, help="First tokens on each road.")
@click.option("--seed", default=1, show_default=True, help="Of the order and the bootstrap.")
@click.option("--json", "as_json_", is_flag=True, help="Print the figures as JSON.")
def main(triples: int, tokens: int, firsts: int, seed: int, as_json_: bool) -> None:
    """What a PoP costs an engine; exit code 1 where a bar is missed."""
    console = Console(stderr=True, highlight=False)
    before = circumstances()
    quiet = float(before["load_1m"]) <= QUIET_LOAD_MAX * float(before["cpu_count"])
    if not quiet:
        console.print(f"[yellow]others use this machine (load {before['load_1m']})[/yellow]")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            found = runner.run(run(tokens, (triples, firsts), seed, console))
        except BenchFailed as error:
            raise click.ClickException(str(error)) from error
    figures: Figures = {
        **found,
        **before,
        "load_1m_end": round(os.getloadavg()[0], 2),
        "xllamacpp_version": version("xllamacpp"),
        "quiet": quiet,
        "tokens": tokens,
        "seed": seed,
    }
    met = bars(figures)
    figures["bars_met"] = all(met.values())
    path = write_figures("engine", figures)
    if as_json_:
        click.echo(as_json(figures), nl=False)
    else:
        show(figures)
        console.print(f"written to {os.path.relpath(path)}")
    sys.exit(0 if all(met.values()) else 1)


if __name__ == "__main__":
    main()
