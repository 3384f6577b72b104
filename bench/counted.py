"""How far counts of chunks and estimates from bytes are from what the engine itself counts.

    python -m bench.counted [--answers 300] [--out bench/out/counted.json]

The embedded engine answers prompts of several kinds and languages, each answer read as a PoP reads
it. Of each answer: chunks delivered against tokens made, at a random chunk (as if its client hung
up there) and at the end; and prompt tokens estimated from the body's bytes against the engine's.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from selvedge.fabric import Ask, Route
from selvedge.routing import prompt_tokens_of
from selvedge.wire import StreamScan
from tests.support.engines import RunningEngine, running_engine

KINDS = {
    "story": "Tell a short story of {}.",
    "list": "List five facts about {}.",
    "code": "Write a Python function about {}.",
    "german": "Erzähle auf Deutsch etwas über {}.",
    "korean": "한국어로 {}에 대해 말해 주세요.",
    "emoji": "Answer only with emoji: {} 😀🚀🌊",
}
THINGS = ("rivers", "bread", "the moon", "trains", "salt", "a lighthouse", "winter", "glass")

Json = dict[str, Any]  # Any: JSON


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(prog="bench.counted", description=main.__doc__)
    parser.add_argument("--answers", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("bench/out/counted.json"))
    given = parser.parse_args()
    chance = random.Random(7)
    with (
        tempfile.TemporaryDirectory() as directory,
        running_engine(Path(directory)) as engine,
    ):
        rows = [measure(engine, number, chance) for number in range(given.answers)]
    figures = summary(rows)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def measure(engine: RunningEngine, number: int, chance: random.Random) -> Json:
    """One answer: differences, and of which kind it was."""
    kind = list(KINDS)[number % len(KINDS)]
    body: Json = {
        "model": "small",
        "messages": [{"role": "user", "content": KINDS[kind].format(chance.choice(THINGS))}],
        "max_tokens": chance.randint(8, 64),
        "temperature": 0.8,
        "seed": number,
        "stream": True,
    }
    sent = json.dumps(body).encode()
    ask = Ask(Route.CHAT, "small", stream=True, prompt_bytes=len(sent))
    asked = body | {"stream_options": {"include_usage": True}, "timings_per_token": True}
    scan, seen = StreamScan(ask), []
    request = urllib.request.Request(
        f"{engine.url}/v1/chat/completions", json.dumps(asked).encode()
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        for line in response:
            before = scan.tokens
            scan.feed(line)
            if scan.tokens > before and scan.usage is not None:
                seen.append((scan.tokens, scan.usage.generated))
    usage = scan.usage
    assert usage is not None
    chunks, made = chance.choice(seen) if seen else (0, 0)
    return {
        "kind": kind,
        "cut": made - chunks,
        "cut_of": made,
        "end": usage.generated - scan.tokens,
        "end_of": usage.generated,
        "prompt": prompt_tokens_of(ask) - usage.input,
        "prompt_of": usage.input,
    }


def summary(rows: list[Json]) -> Json:
    """Distributions of the differences: tokens that counting or estimating misses, each answer."""
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    return {
        "answers": len(rows),
        "made_minus_chunks_at_a_cut": spread(rows, "cut"),
        "made_minus_chunks_at_the_end": spread(rows, "end"),
        "estimated_minus_reported_prompt": spread(rows, "prompt"),
        "missed_percent_at_a_cut_by_kind": {
            kind: share(some, "cut") for kind, some in kinds.items() if some
        },
    }


def spread(rows: list[Json], name: str) -> Json:
    """Quantiles, and how often there was none; of all tokens, the share that is missed."""
    values = sorted(row[name] for row in rows)
    counts = Counter(values)
    quantile = {f"p{p}": values[min(len(values) - 1, len(values) * p // 100)] for p in (5, 50, 95)}
    return {
        "exact_percent": round(100 * counts[0] / len(values), 1),
        "min": values[0],
        **quantile,
        "max": values[-1],
        "of_all_percent": share(rows, name),
    }


def share(rows: list[Json], name: str) -> float:
    """The differences together, in percent of the tokens they are of."""
    return round(100 * sum(row[name] for row in rows) / sum(row[f"{name}_of"] for row in rows), 2)


if __name__ == "__main__":
    main()
