"""``selvedge cache calibrate``: the curve of hits and wrong hits, to choose a threshold by."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from selvedge.adapters import BundledEmbedder, Embedder, UrlEmbedder, default_cache_dir
from selvedge.cache import calibration, clash, slots_of
from selvedge.cli.charts import draw
from selvedge.cli.home_option import json_option
from selvedge.fabric import SelvedgeError

BATCH: Final = 64


class Labelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file: two questions, and whether one answer serves both.

    ``similarity`` where it is known; else both are embedded.
    """

    question: str
    kept: str
    same: bool
    similarity: float | None = None


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
    one answer serves both.
    """
    pairs = _judged(_read(file), options)
    points = calibration.curve(pairs)
    told = [calibration.suggested(pairs, one, confidence) for one in wrong_max]
    if chart is not None:
        axes = ("share of questions answered from the cache", "wrong of hits")
        draw(chart, f"{len(pairs)} pairs of {file.name}", axes, calibration.chart(points))
    if options["as_json"]:
        facts = {"pairs": len(pairs), "points": points, "suggested": told}
        click.echo(msgspec.json.encode(facts))
        return
    click.echo(calibration.as_text(points, told), nl=False)


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
