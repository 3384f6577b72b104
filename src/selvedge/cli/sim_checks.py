"""``selvedge sim validate`` and ``selvedge sim calibrate``: the simulator against the world."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import click
import msgspec
from rich.table import Table

from selvedge.adapters import Ask, EngineProbe, Heard, find_data, read_lines
from selvedge.cli.home_option import json_option
from selvedge.cli.tables import console
from selvedge.sim import (
    CHECKS,
    BatchingModel,
    Check,
    Held,
    Observed,
    Shape,
    Together,
    fit_model,
    judge,
    pause_us,
    together,
)

PROMPT_WORDS: Final = (20, 60, 120, 200, 300)
GROUP_WORDS: Final = 20
GROUP_TOKENS: Final = 40
LONG_WORDS: Final = 300
GROUPS_MAX: Final = 32
HELD_REQUESTS: Final = 8
HELD_WORDS: Final = 120
HELD_TOKENS: Final = 32
HELD_LOAD: Final = 0.6


@click.command()
@click.argument("name", type=click.Choice(sorted(CHECKS)))
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder of traces.")
@json_option
def validate(*, name: str, data: Path | None, as_json: bool) -> None:
    """Compare the simulator with what others published; exit code 1 where a bar is missed."""
    checks = CHECKS[name](lambda path: read_lines(find_data(data), path))
    if as_json:
        click.echo(msgspec.json.encode(checks))
    else:
        console().print(_table(name, checks))
    if not all(check.met for check in checks):
        sys.exit(1)


@click.command()
@click.argument("url")
@click.option("--model", default=None, help="Model to ask for (default: the first listed).")
@click.option("--slots", default=0, help="Answers decoded together (default: as it says).")
@click.option("--batch", default=64, show_default=True, help="Prompt tokens computed at once.")
@click.option("--context", default=2048, show_default=True, help="Context of a slot, in tokens.")
@click.option("--rounds", default=3, show_default=True, help="How often each group is measured.")
@click.option("--seed", default=1, show_default=True, help="For prompts and the run held back.")
@json_option
def calibrate(
    *,
    url: str,
    model: str | None,
    slots: int,
    batch: int,
    context: int,
    rounds: int,
    seed: int,
    as_json: bool,
) -> None:
    """Measure a running engine, fit its timing, and predict a run that was held back."""
    probe = EngineProbe(url, model, seed)
    shape = Shape(slots or probe.slots() or 1, context, batch)
    fitted, held = fit_and_judge(probe, shape, rounds, seed)
    if as_json:
        click.echo(msgspec.json.encode({"engine": fitted, "held_back": _figures(held)}))
    else:
        _show(fitted, held)
    if not held.met:
        sys.exit(1)


def fit_and_judge(
    probe: EngineProbe, shape: Shape, rounds: int, seed: int
) -> tuple[BatchingModel, Held]:
    """The fit of all rounds, and how it predicts what was held back of each.

    Both are measured in every round, so that what else the machine does falls on both alike.
    """
    rng = Random(seed)
    prompts: list[Observed] = []
    groups: list[Together] = []
    runs: list[list[Observed]] = []
    probe.run([Ask(GROUP_WORDS, 2)])
    for _ in range(rounds):
        for words in PROMPT_WORDS:
            prompts += map(_observed, probe.run([Ask(words, 1)]))
        for number in filter(_is_measured, range(1, shape.slots + 1)):
            groups.append(_group(probe.run([Ask(GROUP_WORDS, GROUP_TOKENS)] * number)))
        groups.append(_group(probe.run([Ask(LONG_WORDS, GROUP_TOKENS)])))
        runs.append(hold_back(probe, fit_model(prompts, groups, shape), rng))
    fitted = fit_model(prompts, groups, shape)
    return fitted, judge(fitted, runs)


def hold_back(probe: EngineProbe, model: BatchingModel, rng: Random) -> list[Observed]:
    """A run the fit does not see: prompts and answers of other lengths, coming as they come."""
    asks, after_us = [], 0
    mean_us = pause_us(model, HELD_WORDS, HELD_TOKENS, HELD_LOAD)
    for _ in range(HELD_REQUESTS):
        words, tokens = rng.randint(20, 2 * HELD_WORDS), rng.randint(16, 2 * HELD_TOKENS)
        asks.append(Ask(words, tokens, after_us))
        after_us += int(rng.expovariate(1 / mean_us))
    return [_observed(one) for one in probe.run(asks)]


def _is_measured(number: int) -> bool:
    return number <= 8 or (number <= GROUPS_MAX and number % 8 == 0)


def _group(heard: Sequence[Heard]) -> Together:
    context = sum(one.prompt_tokens + one.output_tokens // 2 for one in heard)
    return together([one.moments for one in heard], context)


def _observed(heard: Heard) -> Observed:
    return Observed(
        first_us=heard.first_us,
        whole_us=heard.whole_us,
        prompt_tokens=heard.prompt_tokens,
        output_tokens=heard.output_tokens,
        sent_us=heard.sent_us,
    )


def _figures(held: Held) -> dict[str, float | bool]:
    return {
        **{name: getattr(held, name) for name in held.__struct_fields__},
        "ttft_error": held.ttft_error,
        "step_error": held.step_error,
        "met": held.met,
    }


def _show(fitted: BatchingModel, held: Held) -> None:
    timing = fitted.timing
    click.echo(f"prefill        {1e6 / timing.prefill_token:10.1f} tokens/s")
    for number, step_us in enumerate(timing.decode_steps, 1):
        rate = number * 1e6 / step_us
        click.echo(f"decode {number:3d}     {rate:10.1f} tokens/s, {step_us / 1000:.1f} ms a step")
    click.echo(msgspec.json.format(msgspec.json.encode(timing)).decode())
    table = Table("held back", "measured", "predicted", "error", "bar", box=None)
    rows = (
        ("TTFT, mean ms", held.ttft_us, held.ttft_predicted_us, held.ttft_error, "10%"),
        ("per token, mean ms", held.step_us, held.step_predicted_us, held.step_error, "5%"),
    )
    for name, got, predicted, error, most in rows:
        table.add_row(name, f"{got / 1000:.1f}", f"{predicted / 1000:.1f}", f"{error:+.1%}", most)
    console().print(table)


def _table(name: str, checks: Sequence[Check]) -> Table:
    table = Table(name, "ours", "theirs", "bar", "", box=None)
    for check in checks:
        word = "met" if check.met else "missed"
        ours, theirs = f"{check.ours:,.3f}", f"{check.reference:,.3f}"
        table.add_row(check.name, ours, theirs, check.tolerance, word)
    return table
