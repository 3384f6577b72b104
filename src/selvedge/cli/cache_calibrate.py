"""``selvedge cache calibrate``: the curve of hits and wrong hits, to choose a threshold by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from selvedge.adapters import (
    BundledEmbedder,
    Embedder,
    UrlEmbedder,
    UrlJudge,
    default_cache_dir,
)
from selvedge.cache import calibration, clash, judging, slots_of
from selvedge.cli.charts import draw
from selvedge.cli.home_option import json_option
from selvedge.fabric import SelvedgeError

BATCH: Final = 64


class Labelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file: two questions, and whether one answer serves both.

    ``similarity`` where it is known; else both are embedded. ``judged`` is what a judge said,
    where one was asked before; it is asked about the answers too, where there are any.
    """

    question: str
    kept: str
    same: bool
    similarity: float | None = None
    answer: str = ""
    """What an engine answered to the question."""
    kept_answer: str = ""
    judged: bool | None = None


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--wrong-max",
    "wrong_max",
    type=click.FloatRange(0.0001, 0.5),
    multiple=True,
    default=(0.01, 0.03),
    show_default=True,
    help="The largest share of hits that may be wrong.",
)
@click.option("--confidence", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True)
@click.option("--no-gates", is_flag=True, help="As if numbers, names and opposites did not count.")
@click.option("--url", help="An embedding engine, ending in /v1 (default: the bundled encoder).")
@click.option("--model", default="", help="Its model.")
@click.option("--dims", type=int, default=0, help="How many numbers its vectors have.")
@click.option("--key-env", help="Environment variable with its API key.")
@click.option("--judge-url", help="An engine to hold against your labels, ending in /v1.")
@click.option("--judge-model", default="", help="Its model, as in `judge: engine:MODEL`.")
@click.option("--judge-key-env", help="Environment variable with its API key.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw the curve as PNG here.")
@json_option
def calibrate(
    file: Path,
    wrong_max: tuple[float, ...],
    confidence: float,
    chart: Path | None,
    **options: Any,  # Any: values of the options above
) -> None:
    """Draw how many of your pairs would be hits at each threshold, and how many wrongly.

    FILE is JSONL of {question, kept, same}: a question, the kept question most like it, and whether
    one answer serves both. With `judged`, or --judge-url, also whether that judge can be believed:
    lines may have `answer` and `kept_answer`, which it is shown.
    """
    lines = _read(file)
    pairs = _judged(lines, options)
    points = calibration.curve(pairs)
    told = [calibration.suggested(pairs, one, confidence) for one in wrong_max]
    if chart is not None:
        axes = ("share of questions answered from the cache", "wrong of hits")
        draw(chart, f"{len(pairs)} pairs of {file.name}", axes, calibration.chart(points))
    trial = _tried(lines, options)
    if options["as_json"]:
        facts: dict[str, Any] = {"pairs": len(pairs), "points": points, "suggested": told}
        if trial is not None:
            good = [one for one in wrong_max if trial.is_believable(one, confidence)]
            low, high = trial.wrong_of_same
            facts["judge"] = {"trial": trial, "wrong_of_same": [low, high], "good_for": good}
        click.echo(msgspec.json.encode(facts))
        return
    click.echo(calibration.as_text(points, told), nl=False)
    if trial is not None:
        click.echo(judging.trial_text(trial, wrong_max, confidence), nl=False)


def _tried(lines: Sequence[Labelled], options: dict[str, Any]) -> judging.Trial | None:
    # Any: values of options
    """What a judge says of the pairs, or said before; None where there is none."""
    url = options["judge_url"]
    if url is None:
        said = [judging.Tried(one.same, one.judged) for one in lines]
        return judging.trial(said) if any(one.said is not None for one in said) else None
    if not options["judge_model"]:
        raise SelvedgeError("--judge-url needs --judge-model")
    judge = UrlJudge(
        url, options["judge_model"], os.environ.get(options["judge_key_env"] or "") or None
    )
    return judging.trial(
        judging.Tried(
            one.same,
            judge.says_same(
                judging.Exchange(one.kept, one.kept_answer),
                judging.Exchange(one.question, one.answer),
            ),
        )
        for one in lines
    )


def _read(file: Path) -> list[Labelled]:
    found = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    found.append(msgspec.json.decode(line, type=Labelled))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise SelvedgeError(f"{file}, line {number}: {error}") from error
    if not found:
        raise SelvedgeError(f"{file} has no pairs; each line is {{question, kept, same}}")
    return found


def _judged(pairs: Sequence[Labelled], options: dict[str, Any]) -> list[calibration.Judged]:
    # Any: values of options
    blank = [one for one in pairs if one.similarity is None]
    known = dict(zip(map(id, blank), _similarities(blank, options), strict=True))
    judged = []
    for one in pairs:
        similarity = one.similarity if one.similarity is not None else known[id(one)]
        passed = options["no_gates"] or clash(slots_of(one.question), slots_of(one.kept)) is None
        judged.append(calibration.Judged(similarity, one.same, passed))
    return judged


def _similarities(pairs: Sequence[Labelled], options: dict[str, Any]) -> list[float]:
    # Any: values of options
    if not pairs:
        return []
    embedder = _embedder(options)
    texts = list(dict.fromkeys(text for one in pairs for text in (one.question, one.kept)))
    vectors: dict[str, Any] = {}  # Any: rows of an array
    for at in range(0, len(texts), BATCH):
        part = texts[at : at + BATCH]
        vectors |= zip(part, embedder.embed(part), strict=True)
    return [float(vectors[one.question] @ vectors[one.kept]) for one in pairs]


def _embedder(options: dict[str, Any]) -> Embedder:  # Any: values of options
    if options["url"] is None:
        return BundledEmbedder(default_cache_dir())
    if not options["model"] or not options["dims"]:
        raise SelvedgeError("--url needs --model and --dims")
    key = os.environ.get(options["key_env"] or "")
    return UrlEmbedder(options["url"], options["model"], dims=options["dims"], key=key)
