"""What a model's settings do at the embedded engine: `python -m bench.catalogue`.

A fleet file (`catalogue.yaml`) names one model in three quantisations, with and without n-gram
speculation; `LocalFabric` starts an engine for each, and they are asked in turn, in random order.
Speeds are tokens per second of the engine's own processor time, so that other work on the machine
does not count; times to the first token are by the clock. Quality is what an engine thinks of a
fixed text, token by token: its perplexity, and how often its first choice is that of the model as
carried. Guessing is measured on text that repeats itself and on a story, and must change no word.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import click
import msgspec
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.figures import Figures, circumstances, write_figures
from selvedge.adapters import default_cache_dir, model_path, read_config
from selvedge.control import Home, LocalFabric, Running

FLEET = Path(__file__).parent / "catalogue.yaml"
WEIGHTS = "smollm2-135m-instruct"
PLAIN = ("carried", "eight", "four")
GUESSING = {"carried-ngram": "carried", "four-ngram": "four"}
TOKENS = 128
FIRST = 24
"""Tokens of the fixed text that are given before anything is asked."""
CHOICES = 400
"""How far down an engine's list the right token is looked for."""
ASK_S_MAX = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")

STORY = "Tell the long story of a weaver in Singapore and her grandmother's loom."
_PATTERN = '{"pop": "sin", "country": "SG", "engines": 2, "state": "ready"}\n'
REPEATS = _PATTERN * 8
FIXED = (
    "A selvedge is the edge of a woven cloth that is finished so that it does not unravel. When the"
    " weft thread comes to the side of the loom it turns back into the cloth, and the turns hold"
    " the outermost warp threads in place. Weavers learned early that a good edge saves the whole"
    " piece: it keeps the cloth straight while it is washed and dried, and it gives the tailor a"
    " line that can be trusted. On wide modern looms the weft no longer turns back. It is cut at"
    " both sides, and the edge is held by extra threads, by heat, or by a narrow strip that is"
    " woven more tightly than the rest. Such edges are cheaper to make, and they fray sooner. Some"
    " makers of heavy cotton cloth still run old shuttle looms, because their customers look for"
    " the clean white edge with its coloured line. The looms are slow and loud, and their spare"
    " parts have to be made by hand. Yet the cloth that leaves them has a small unevenness that"
    " people like to touch. In the harbour towns of the east, traders once judged a bolt of cloth"
    " by its edge alone. They would pull a thread from it, hold it to the light, and name the"
    " village from which it came. A buyer who could not read the edge paid too much."
)

Json = Any  # bodies of an engine


class Engine(msgspec.Struct):
    """One engine of the fleet, by its model's name."""

    name: str
    url: str
    pid: int

    def ask(self, path: str, body: Json) -> Json:
        """One answer, and what it took of the engine's processor time."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data)
        before_s = cpu_s(self.pid)
        with urllib.request.urlopen(request, timeout=ASK_S_MAX) as response:
            found = json.load(response)
        found["cpu_s"] = cpu_s(self.pid) - before_s
        return found

    def first_token_ms(self, prompt: str) -> float:
        """By the clock, of a prompt that nothing is known of."""
        body = {"prompt": prompt, "n_predict": 1, "stream": True, "cache_prompt": False}
        request = urllib.request.Request(self.url + "/completion", json.dumps(body).encode())
        begun = time.perf_counter()
        with urllib.request.urlopen(request, timeout=ASK_S_MAX) as response:
            response.readline()
        return (time.perf_counter() - begun) * 1000


def cpu_s(pid: int) -> float:
    """Processor seconds of a process."""
    words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def find_engines(running: Running) -> dict[str, Engine]:
    """The engines that were started, with their processes: children of this one."""
    found = {}
    for name, url in running.pops["sin"].engines.items():
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                parent = int((path / "stat").read_text("ascii").rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid() and b"--alias" in words:
                alias = words[words.index(b"--alias") + 1].decode()
                if alias == name:
                    found[name] = Engine(name, url, int(path.name))
    return found


def complete(engine: Engine, prompt: str, tokens: int) -> Json:
    """A greedy answer of exactly so many tokens, its prompt computed anew."""
    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True}
    return engine.ask("/completion", {**body, "cache_prompt": False})


def speed(engine: Engine, prompt: str) -> dict[str, float]:
    """Tokens per second of processor time, of the prompt and of the answer."""
    first = complete(engine, prompt, 1)
    whole = complete(engine, prompt, TOKENS + 1)
    decode_s = max(whole["cpu_s"] - first["cpu_s"], 1 / _TICKS)
    timings = whole["timings"]
    drafted = timings.get("draft_n", 0)
    return {
        "prefill": first["timings"]["prompt_n"] / max(first["cpu_s"], 1 / _TICKS),
        "decode": TOKENS / decode_s,
        "drafted": drafted,
        "accepted": timings.get("draft_n_accepted", 0),
    }


class Thought(msgspec.Struct):
    """What an engine thinks of the fixed text: its first choice at each place, and how likely the
    right one was to it."""

    choices: list[int]
    log_likely: list[float]
    unlisted: int = 0

    @property
    def perplexity(self) -> float:
        """Of the text after what was given."""
        return math.exp(-sum(self.log_likely) / len(self.log_likely))


def think(engine: Engine, advance: Callable[[], None]) -> Thought:
    """Token by token; what is before each is given, whatever the engine would have said."""
    tokens: list[int] = engine.ask("/tokenize", {"content": FIXED})["tokens"]
    thought = Thought([], [])
    for at in range(FIRST, len(tokens)):
        body = {"prompt": tokens[:at], "n_predict": 1, "n_probs": CHOICES, "temperature": 0}
        found = engine.ask("/completion", {**body, "cache_prompt": True})
        listed = {
            one["id"]: one["logprob"]
            for one in found["completion_probabilities"][0]["top_logprobs"]
        }
        thought.choices.append(max(listed, key=lambda one: listed[one]))
        thought.unlisted += tokens[at] not in listed
        thought.log_likely.append(listed.get(tokens[at], min(listed.values())))
        advance()
    return thought


def measure(engines: dict[str, Engine], rounds: int, seed: int, console: Console) -> Figures:
    """Everything; the engines take turns."""
    rng = Random(seed)
    speeds: dict[tuple[str, str], list[dict[str, float]]] = {}
    firsts: dict[str, list[float]] = {name: [] for name in engines}
    texts = {"story": STORY, "repeats": REPEATS}
    with Progress(console=console) as progress:
        task = progress.add_task("speeds", total=rounds * len(engines) * len(texts))
        for _ in range(rounds):
            for name in rng.sample(list(engines), len(engines)):
                for text, prompt in texts.items():
                    speeds.setdefault((name, text), []).append(speed(engines[name], prompt))
                    progress.advance(task)
                firsts[name].append(engines[name].first_token_ms(FIXED[:900]))
        task = progress.add_task("a fixed text", total=None)
        thoughts = {name: think(engines[name], lambda: progress.advance(task)) for name in PLAIN}
    return {
        **_of_speeds(speeds, firsts),
        **_of_thoughts(thoughts),
        **_of_guesses(engines, texts, speeds),
        "rounds": rounds,
    }


def _of_speeds(
    speeds: dict[tuple[str, str], list[dict[str, float]]], firsts: dict[str, list[float]]
) -> Figures:
    figures: Figures = {}
    for name, times in firsts.items():
        figures[f"{name}_ttft_ms_p50"] = round(median(times), 1)
        both = speeds[name, "story"] + speeds[name, "repeats"]
        figures[f"{name}_prefill_tokens_per_cpu_s"] = round(median(one["prefill"] for one in both))
    for (name, text), found in speeds.items():
        figure = f"{name}_{text}_tokens_per_cpu_s"
        figures[figure] = round(median(one["decode"] for one in found), 1)
    return figures


def _of_thoughts(thoughts: dict[str, Thought]) -> Figures:
    figures: Figures = {"fixed_text_tokens": len(thoughts["carried"].choices)}
    for name, thought in thoughts.items():
        carried = thoughts["carried"].choices
        same = sum(a == b for a, b in zip(thought.choices, carried, strict=True))
        figures[f"{name}_perplexity"] = round(thought.perplexity, 3)
        figures[f"{name}_agreement"] = round(same / len(carried), 4)
        figures[f"{name}_unlisted"] = thought.unlisted
    return figures


def _of_guesses(
    engines: dict[str, Engine],
    texts: dict[str, str],
    speeds: dict[tuple[str, str], list[dict[str, float]]],
) -> Figures:
    figures: Figures = {}
    for name, plain in GUESSING.items():
        for text, prompt in texts.items():
            said = [complete(engines[one], prompt, TOKENS)["content"] for one in (name, plain)]
            own, other = speeds[name, text], speeds[plain, text]
            ratios = [a["decode"] / b["decode"] for a, b in zip(own, other, strict=True)]
            drafted = sum(one["drafted"] for one in own)
            accepted = sum(one["accepted"] for one in own)
            figures[f"{name}_{text}_same_words"] = said[0] == said[1]
            figures[f"{name}_{text}_speedup"] = round(median(ratios), 3)
            figures[f"{name}_{text}_accepted"] = round(accepted / drafted, 3) if drafted else 0.0
            figures[f"{name}_{text}_drafted_per_token"] = round(drafted / TOKENS / len(own), 3)
    return figures


def sizes() -> Figures:
    """The files' sizes in bytes."""
    named = {"carried": "Q4_1", "eight": "Q8_0", "four": "Q4_0"}
    cache = default_cache_dir()
    return {
        f"{name}_bytes": model_path(WEIGHTS, cache, kind).stat().st_size
        for name, kind in named.items()
    }


async def run(rounds: int, seed: int, console: Console) -> Figures:
    """Start the fleet, measure, stop it."""
    with tempfile.TemporaryDirectory(prefix="selvedge-bench-") as directory:
        fabric = LocalFabric(Home(Path(directory)), read_config(FLEET), wan=False, any_port=True)
        try:
            running = await fabric.start(default_cache_dir(), lambda _: None)
            engines = find_engines(running)
            assert len(engines) == len(running.pops["sin"].engines), "an engine was not found"
            return await asyncio.to_thread(measure, engines, rounds, seed, console)
        finally:
            await fabric.stop()


def show(figures: Figures) -> None:
    """Two tables."""
    out = Console(highlight=False)
    plain = Table(title="quantisations", title_justify="left", box=None, pad_edge=False)
    names = ("bytes", "prefill_tokens_per_cpu_s", "story_tokens_per_cpu_s", "ttft_ms_p50")
    for column in ("model", *names, "perplexity", "agreement"):
        plain.add_column(column, justify="right")
    for name in PLAIN:
        values = (figures[f"{name}_{one}"] for one in (*names, "perplexity", "agreement"))
        plain.add_row(name, *(f"{value:,}" for value in values))
    guesses = Table(title="n-gram speculation", title_justify="left", box=None, pad_edge=False)
    facts = ("tokens_per_cpu_s", "speedup", "accepted", "drafted_per_token", "same_words")
    for column in ("model", "text", *facts):
        guesses.add_column(column, justify="right")
    for name in GUESSING:
        for text in ("repeats", "story"):
            guesses.add_row(name, text, *(str(figures[f"{name}_{text}_{one}"]) for one in facts))
    out.print(plain)
    out.print(guesses)


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def main(rounds: int, seed: int) -> None:
    """Measure quantisations and n-gram speculation at the embedded engine."""
    before = circumstances()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(run(rounds, seed, Console(stderr=True)))
    figures = {**sizes(), **figures}
    write_figures("catalogue", {**figures, **before, "seed": seed})
    show(figures)


if __name__ == "__main__":
    main()
