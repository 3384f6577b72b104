"""Prometheus' own forms: answers of `/api/v1/query_range` and `/query`, and dumps as text.

JSON is cut into its series, each decoded alone: an answer may be larger than memory. Text is what
`promtool tsdb dump`, `dump-openmetrics` and scrapes with timestamps give; prometheus_client parses.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import Final

import msgspec
import numpy as np
from prometheus_client.parser import text_fd_to_metric_families
from prometheus_client.samples import Sample

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.clocks import AT_MS_MAX
from selvedge.plan.ingest.columns import Array
from selvedge.plan.ingest.metrics import Metrics
from selvedge.plan.ingest.reading import CUT_OFF, Batch, Form, SourceFile

BLOCK_BYTES: Final = 4 << 20
SERIES_BYTES_MAX: Final = 512 << 20
"""Of one series in JSON: what is larger is no answer of Prometheus."""
LINES: Final = 20_000
_BEGIN: Final = re.compile(rb'\{\s*"metric"\s*:')
_END: Final = re.compile(rb"\]\s*\]\s*\}")
_INSTANT_END: Final = re.compile(rb'"\s*\]\s*\}')
_IS_JSON: Final = re.compile(rb'\s*\{\s*"(status|data|resultType|metric|result)"')
_ERROR: Final = re.compile(rb'"status"\s*:\s*"error"')
_BARE: Final = re.compile(r'^\{__name__="([^"]+)",?\s*(.*)$')


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, float]] = []
    value: tuple[float, float] | None = None


class _TextSeries(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None


def read_prometheus(source: SourceFile) -> Iterator[Batch | Finding]:
    """JSON, or text whose timestamps are milliseconds."""
    with source.open() as file:
        head = file.read(4096)
    source.done_bytes = 0
    if not head.strip():
        raise BadPlan(f"{source.name} is empty; export a range query as JSON, or a dump as text.")
    if _IS_JSON.match(head):
        if _ERROR.search(head):
            words = head[:200].decode("utf-8", "replace")
            raise BadPlan(f"{source.name} is an answer of Prometheus that failed: {words}.")
        yield from _read_json(source, is_range=b'"vector"' not in head)
    else:
        yield from _read_text(source, scale=1.0)


def read_openmetrics(source: SourceFile) -> Iterator[Batch | Finding]:
    """Text whose timestamps are seconds (OpenMetrics 1.0)."""
    yield from _read_text(source, scale=1000.0)


def _read_json(source: SourceFile, *, is_range: bool) -> Iterator[Batch | Finding]:
    metrics = Metrics.of(source)
    number = 0
    try:
        with source.open() as file:
            for text in _cut(file, _END if is_range else _INSTANT_END):
                number += 1
                yield from _take_one(metrics, text, number)
    except CUT_OFF:
        yield from metrics.rest()
        raise
    if not number:
        words = "its result is empty, or its resultType is neither matrix nor vector"
        raise BadPlan(f"{source.name} holds no series: {words}; ask for raw series of a range.")
    yield from metrics.rest()


def _take_one(metrics: Metrics, text: bytes, number: int) -> Iterator[Batch | Finding]:
    try:
        found = _decoded(text)
    except (msgspec.MsgspecError, ValueError) as error:
        where = metrics.source.finding(f"series {number}")
        words = f"no series of Prometheus: {error}; left out"
        yield Finding(kind="unreadable", source=where, detail=words)
        return
    pairs = found.values if found.value is None else [found.value]
    table = np.array(pairs, float).reshape(-1, 2)
    yield from metrics.take(found.metric, _at_ms(table[:, 0] * 1000), table[:, 1])


def _decoded(text: bytes) -> _Series:
    try:
        return msgspec.json.decode(text, type=_Series, strict=False)
    except msgspec.ValidationError:
        # Infinities are text that no number of JSON is.
        found = msgspec.json.decode(text, type=_TextSeries)
        pairs = [(at, float(value)) for at, value in found.values]
        one = None if found.value is None else (found.value[0], float(found.value[1]))
        return _Series(found.metric, pairs, one)


def _cut(file: BufferedReader, end: re.Pattern[bytes]) -> Iterator[bytes]:
    """The objects of series, one by one."""
    buffer = bytearray()
    looked = 0
    begun = False
    while True:
        if not begun:
            found = _BEGIN.search(buffer)
            if found:
                del buffer[: found.start()]
                looked, begun = 0, True
        if begun:
            last = end.search(buffer, max(looked - 64, 0))
            if last:
                yield bytes(buffer[: last.end()])
                del buffer[: last.end()]
                begun = False
                continue
            looked = len(buffer)
        elif len(buffer) > 256:
            del buffer[:-256]
        data = file.read1(BLOCK_BYTES)
        if not data:
            if begun:
                raise EOFError("the file ends inside a series")
            return
        buffer += data
        if len(buffer) > SERIES_BYTES_MAX:
            raise EOFError(f"a series of more than {SERIES_BYTES_MAX} bytes")


def _read_text(source: SourceFile, *, scale: float) -> Iterator[Batch | Finding]:
    """Lines of text; `scale` is what a timestamp of one is in milliseconds."""
    metrics = Metrics.of(source)
    untimed = 0
    try:
        with source.open() as file:
            for first, lines in _chunks(file):
                samples: list[Sample] = []
                for found in _parsed(source, first, lines):
                    if isinstance(found, Finding):
                        yield found
                    elif found.timestamp is None:
                        untimed += 1
                    else:
                        samples.append(found)
                yield from _take_all(metrics, samples, scale)
    except CUT_OFF:
        yield from metrics.rest()
        raise
    if untimed:
        words = f"{untimed} samples without a timestamp, of a scrape; left out: dump with them"
        yield Finding(kind="unreadable", count=untimed, source=source.name, detail=words)
    yield from metrics.rest()


def _take_all(metrics: Metrics, samples: Sequence[Sample], scale: float) -> Iterator[Batch]:
    """Series by series, in order of first appearance."""
    series: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]] = {}
    for sample in samples:
        key = (sample.name, tuple(sample.labels.items()))
        # The library takes what it reads for milliseconds, and gives seconds.
        at = float(sample.timestamp or 0.0) * 1000 * scale
        series.setdefault(key, []).append((at, sample.value))
    for (name, labels), pairs in series.items():
        table = np.array(pairs, float)
        labelled = {"__name__": name, **dict(labels)}
        yield from metrics.take(labelled, _at_ms(table[:, 0]), table[:, 1])


def _at_ms(at: Array) -> Array:
    """Whole milliseconds; what no history can hold is -1."""
    fits = np.isfinite(at) & (at >= 0) & (at < AT_MS_MAX)
    found: Array = np.rint(np.where(fits, at, -1)).astype(np.int64)
    return found


def _chunks(file: BufferedReader) -> Iterator[tuple[int, list[str]]]:
    """Lines, some thousands at once, with the number of the first."""
    first, lines = 1, []
    for raw in file:
        line = raw.decode("utf-8", "replace")
        bare = _BARE.match(line)
        if bare:
            line = f"{bare[1]}{{{bare[2]}\n"
        if line.startswith("#"):
            line = "\n"  # types and help are known, and may be another dialect's
        elif " # {" in line:
            line = line[: line.index(" # {")] + "\n"  # an exemplar
        lines.append(line)
        if len(lines) == LINES:
            yield first, lines
            first, lines = first + LINES, []
    if lines:
        yield first, lines


def _parsed(source: SourceFile, first: int, lines: list[str]) -> Iterator[Sample | Finding]:
    try:
        yield from _samples(lines)
    except (ValueError, IndexError, KeyError):
        yield from _one_by_one(source, first, lines)


def _samples(lines: list[str]) -> list[Sample]:
    text = io.StringIO("".join(lines))
    return [one for family in text_fd_to_metric_families(text) for one in family.samples]


def _one_by_one(source: SourceFile, first: int, lines: list[str]) -> Iterator[Sample | Finding]:
    bad = []
    for number, line in enumerate(lines, first):
        try:
            yield from _samples([line])
        except (ValueError, IndexError, KeyError):
            bad.append(number)
    where = f"line {bad[0]}" if len(bad) == 1 else f"lines {bad[0]} to {bad[-1]}"
    words = f"{len(bad)} lines that are no samples; left out"
    yield Finding(kind="unreadable", count=len(bad), source=source.finding(where), detail=words)


PROMETHEUS: Final = Form(
    "prometheus",
    "Prometheus: query_range or query as JSON, or a text dump with timestamps in ms.",
    read_prometheus,
)
OPENMETRICS: Final = Form(
    "openmetrics", "OpenMetrics text with timestamps in seconds.", read_openmetrics
)
