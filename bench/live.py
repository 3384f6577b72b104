"""Policies on real engines: conversations of several turns through three doors of one fleet.

Each door is a PoP without engines that routes by another policy; behind them are the same three
engines. Batches of fresh conversations take the doors in turn, in random order within each round,
so that all policies meet the same machine and equally full caches. As many conversations as engines
would come back to the same engine by mere rhythm, so there is one more. What counts is what the
engines say: prompt tokens in all, and those of them that were cached; and the time to the first
token as the client sees it. A demonstration on a small machine, not a bar.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from random import Random
from statistics import median

import click
import uvloop
from rich.console import Console

from bench.figures import (
    Figures,
    as_json,
    circumstances,
    difference_interval,
    print_table,
    write_figures,
)
from bench.line import open_line, post
from selvedge.adapters import default_cache_dir, read_config
from selvedge.control import Home, LocalFabric, Running

FLEET = Path(__file__).parent / "live.yaml"
MODEL = "smollm2-135m-instruct"
PATH = "/v1/chat/completions"
POLICIES = ("predictive", "round-robin", "least-load")
ASK_S_MAX = 120.0
HEARD_S_MAX = 30.0
FIRST_WORDS = 220
MORE_WORDS = 40

_TOKEN = re.compile(rb'"content":"[^"]')
_TEXT = re.compile(rb'"delta":\{[^}]*"content":("(?:[^"\\]|\\.)*")')
_PROMPT = re.compile(rb'"prompt_tokens":(\d+)')
_CACHED = re.compile(rb'"cached_tokens":(\d+)')
_WORDS = (
    *("warp", "weft", "loom", "shuttle", "heddle", "selvedge", "bobbin", "treadle", "cloth"),
    *("river", "harbour", "market", "lantern", "monsoon", "ferry", "garden", "letter", "winter"),
)


class BenchFailed(Exception):
    """An answer was not what the measurement needs."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: its place in the conversation, tokens as the engine counts them, times."""

    number: int
    prompt: int
    cached: int
    ttft_ms: float
    served_by: str


@dataclass(slots=True)
class Conversation:
    """A client's side of a conversation; it repeats its bytes, as clients do."""

    rng: Random
    messages: list[dict[str, str]] = field(default_factory=list)

    def body(self, tokens: int) -> bytes:
        """The next turn's request."""
        count = MORE_WORDS if self.messages else FIRST_WORDS
        text = " ".join(self.rng.choice(_WORDS) for _ in range(count))
        name = f"{self.rng.getrandbits(40):010x}. " if not self.messages else ""
        self.messages.append({"role": "user", "content": f"{name}Go on with: {text}."})
        fields = {
            "model": MODEL,
            "messages": self.messages,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return json.dumps(fields).encode()

    def heard(self, raw: bytes) -> None:
        """The answer becomes a part of the conversation."""
        pieces = [json.loads(one) for one in _TEXT.findall(raw)]
        self.messages.append({"role": "assistant", "content": "".join(pieces)})


async def talk(port: int, key: str, rng: Random, turns: int, tokens: int) -> list[Turn]:
    """One conversation, turn after turn."""
    talking, found = Conversation(rng), []
    for number in range(turns):
        line = await open_line(port)
        async with asyncio.timeout(ASK_S_MAX):
            heard = await line.ask(post(PATH, port, talking.body(tokens), key))
        line.close()
        raw, first_ns = heard.raw, heard.first_ns(_TOKEN)
        if heard.status != 200 or not heard.ended or first_ns is None:
            raise BenchFailed(f"no whole answer: {raw[-300:]!r}")
        talking.heard(raw)
        found.append(
            Turn(
                number,
                _last(_PROMPT, raw),
                _last(_CACHED, raw),
                (first_ns - heard.sent_ns) / 1e6,
                heard.header("selvedge-served-by") or "",
            )
        )
    return found


def _last(pattern: re.Pattern[bytes], raw: bytes) -> int:
    found = pattern.findall(raw)
    return int(found[-1]) if found else 0


async def wait_heard(running: Running) -> None:
    """Until every door has heard every engine's PoP."""
    pops = sum(1 for pop in running.pops.values() if pop.engines)
    async with asyncio.timeout(HEARD_S_MAX):
        for policy in POLICIES:
            port = _port(running, policy)
            request = (
                f"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"
            )
            while True:
                line = await open_line(port)
                found = re.findall(
                    rb"\nselvedge_reports_fresh ([0-9.]+)", (await line.ask(request.encode())).raw
                )
                line.close()
                if found and float(found[0]) >= pops:
                    break
                await asyncio.sleep(0.2)


def _port(running: Running, policy: str) -> int:
    return int(running.pops[f"cgk-{policy}"].url.rpartition(":")[2])


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked."""

    rounds: int
    conversations: int
    turns: int
    tokens: int
    minutes: float
    seed: int


async def measure(
    running: Running, key: str, plan: Plan, console: Console
) -> tuple[dict[str, list[Turn]], int]:
    """Rounds of all policies in random order, as many as fit; turns by policy, rounds."""
    found: dict[str, list[Turn]] = {policy: [] for policy in POLICIES}
    rng, begun = Random(plan.seed), time.monotonic()
    done = 0
    for number in range(plan.rounds):
        taken_s = time.monotonic() - begun
        if number and taken_s * (number + 1) / number > plan.minutes * 60:
            break
        for policy in rng.sample(POLICIES, len(POLICIES)):
            port = _port(running, policy)
            batch = [
                talk(port, key, Random(rng.getrandbits(64)), plan.turns, plan.tokens)
                for _ in range(plan.conversations)
            ]
            for turns in await asyncio.gather(*batch):
                found[policy] += turns
            share = saved(found[policy])
            console.print(f"round {number + 1}, {policy}: {share:.0%} of prompt tokens cached")
        done += 1
    return found, done


def saved(turns: list[Turn]) -> float:
    """Share of prompt tokens that no engine had to read."""
    return sum(one.cached for one in turns) / max(1, sum(one.prompt for one in turns))


def fold(found: dict[str, list[Turn]], seed: int) -> Figures:
    """Turns as flat figures. The first turn of a conversation is cold under any policy."""
    figures: Figures = {}
    later = {policy: [one for one in turns if one.number] for policy, turns in found.items()}
    for policy, turns in found.items():
        name = policy.replace("-", "_")
        figures[f"turns_{name}"] = len(turns)
        figures[f"prompt_tokens_{name}"] = sum(one.prompt for one in turns)
        figures[f"saved_share_{name}"] = round(saved(turns), 4)
        figures[f"saved_share_later_{name}"] = round(saved(later[policy]), 4)
        figures[f"ttft_ms_p50_{name}"] = round(median(one.ttft_ms for one in turns), 1)
        figures[f"ttft_ms_p50_later_{name}"] = round(median(x.ttft_ms for x in later[policy]), 1)
        figures[f"pops_{name}"] = len({one.served_by for one in turns})
    ours = [one.ttft_ms for one in later["predictive"]]
    for policy in POLICIES[1:]:
        name = policy.replace("-", "_")
        theirs = [one.ttft_ms for one in later[policy]]
        low, high = difference_interval(ours, theirs, seed)
        figures[f"ttft_ratio_later_{name}"] = round(median(ours) / median(theirs), 3)
        figures[f"ttft_less_ms_later_{name}"] = round(median(theirs) - median(ours), 1)
        figures[f"ttft_less_ms_later_{name}_ci_low"] = round(-high, 1)
        figures[f"ttft_less_ms_later_{name}_ci_high"] = round(-low, 1)
    return figures


async def run(plan: Plan, console: Console) -> Figures:
    """Start a fabric in a temporary home, measure, stop it."""
    settings = {f"cgk-{policy}": {"routing_policy": policy} for policy in POLICIES}
    with tempfile.TemporaryDirectory(prefix="selvedge-bench-") as directory:
        home = Home(Path(directory))
        config = read_config(FLEET)
        fabric = LocalFabric(home, config, wan=True, any_port=True, settings=settings)
        try:
            with console.status("starting"):
                running = await fabric.start(default_cache_dir(), lambda _: None)
                await wait_heard(running)
            found, rounds = await measure(running, home.keys()["bench"], plan, console)
        finally:
            await fabric.stop()
    return {"rounds": rounds, **fold(found, plan.seed)}


def show(figures: Figures) -> None:
    """The table at the end."""
    rows = []
    for policy in POLICIES:
        name = policy.replace("-", "_")
        saved_share = float(figures[f"saved_share_later_{name}"])
        rows.append((policy, f"{saved_share:.0%} cached", "of prompt tokens, later turns"))
        rows.append(("", f"{figures[f'ttft_ms_p50_later_{name}']} ms", "TTFT p50, later turns"))
    for policy in POLICIES[1:]:
        name = f"ttft_less_ms_later_{policy.replace('-', '_')}"
        interval = f"({figures[name + '_ci_low']} to {figures[name + '_ci_high']})"
        rows.append((f"TTFT less than {policy}", f"{figures[name]} ms", interval))
    print_table(f"{figures['rounds']} rounds", rows)


@click.command()
@click.option("--rounds", default=12, show_default=True, help="Rounds of all policies, at most.")
@click.option("--conversations", default=4, show_default=True, help="At once, of one policy.")
@click.option("--turns", default=5, show_default=True, help="Of each conversation.")
@click.option("--tokens", default=16, show_default=True, help="Of each answer, at most.")
@click.option("--minutes", default=8.0, show_default=True, help="No round begins that ends later.")
@click.option("--seed", default=1, show_default=True, help="Of words, order and bootstrap.")
@click.option("--json", "as_json_", is_flag=True, help="Print the figures as JSON.")
def main(*, as_json_: bool, **amounts: int | float) -> None:
    """Conversations on real engines by three policies."""
    console = Console(stderr=True, highlight=False)
    plan = Plan(**amounts)  # type: ignore[arg-type]  # click has their types
    before = circumstances()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            found = runner.run(run(plan, console))
        except BenchFailed as error:
            raise click.ClickException(str(error)) from error
    figures: Figures = {
        **found,
        **before,
        "load_1m_end": round(os.getloadavg()[0], 2),
        "xllamacpp_version": version("xllamacpp"),
        "conversations": plan.conversations,
        "turns": plan.turns,
        "tokens": plan.tokens,
        "seed": plan.seed,
    }
    path = write_figures("live", figures)
    if as_json_:
        click.echo(as_json(figures), nl=False)
    else:
        show(figures)
        console.print(f"written to {os.path.relpath(path)}")
    sys.exit(0)


if __name__ == "__main__":
    main()
