"""Lines to amounts: one row for each PoP and five minutes of a block, bad lines named.

A flow that runs over several intervals is shared out among them by time; not a byte is lost or
made by that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.history import STEP_S, Finding, Flag
from selvedge.plan.ingest.logs_cells import Column, as_count, as_ms, date_time_ms
from selvedge.plan.ingest.logs_lines import Account
from selvedge.plan.ingest.reading import BYTES, Batch, Kind, SourceFile

STEP_MS: Final = STEP_S * 1000
FLOW_MS_MAX: Final = 86_400_000
"""The longest flow that is believed: routers cut them after minutes."""
BYTES_MAX: Final = 1 << 53
"""So much or more is no request's or flow's: below, a fraction counts to the byte."""
_NOT_READ: Final = "no line of this log: it is cut, or of another format; left out"
_NO_POP: Final = "nothing says which PoP it is of; left out"
_NO_TIME: Final = "its time is none from 2000 to 2099, with a zone; left out"
_NO_NUMBER: Final = "{} is no number of bytes below 2^53; left out"
_NO_WAY: Final = "its flowDirection is neither in nor out; left out"
_NO_END: Final = "a flow without an end, or before its start, or over a day; taken as {}"


@dataclass(frozen=True, slots=True)
class Cells:
    """Lines of a block, column by column, as they stand there.

    By role: `pop`, and `at` or `date` and `time`; any of `until`, `out_bytes`, `in_bytes`,
    `is_out` (true: the bytes of `out_bytes` are sent; false: received) with `is_known`, `scale`.
    """

    columns: Mapping[str, Column]
    lines: Sequence[int] | npt.NDArray[np.int64]
    """Line of each row."""
    bad: Sequence[int] = ()
    """Lines that could not be taken apart."""
    place: str = ""
    """Instead of lines: the row group."""


def add_up(cells: Cells, account: Account, read_rows: int) -> Iterator[Batch | Finding]:
    """A batch of the block's amounts, if it has one, and findings of its bad lines."""
    lines = np.asarray(cells.lines, np.int64)
    yield from account.tell("unreadable", _NOT_READ, sorted(set(cells.bad)))
    pops, at = cells.columns["pop"], _moments(cells.columns)
    good = _known(_named(pops))
    yield from account.tell("unreadable", _NO_POP, lines[~good])
    timed = _known(at.is_valid())
    yield from account.tell("unreadable", _NO_TIME, lines[good & ~timed])
    good &= timed
    if "is_known" in cells.columns:
        known = np.asarray(cells.columns["is_known"])
        yield from account.tell("unreadable", _NO_WAY, lines[good & ~known])
        good &= known
    at_ms = at.fill_null(0).to_numpy()
    until = as_ms(cells.columns["until"]) if "until" in cells.columns else None
    if until is not None:
        lasted = until.fill_null(-1).to_numpy() - at_ms
        moment, day = good & (lasted < 0), good & (lasted > FLOW_MS_MAX)
        yield from account.tell("clock_shift", _NO_END.format("of its start alone"), lines[moment])
        yield from account.tell("clock_shift", _NO_END.format("one of a day"), lines[day])
    scale = _scale(cells.columns, account.source)
    amounts: dict[str, npt.NDArray[np.int64]] = {}
    for name in BYTES:
        if name in cells.columns:
            number, wrong = as_count(cells.columns[name])
            number = number.fill_null(0).to_numpy()
            over = _known(wrong) | (np.abs(number.astype(float)) * scale >= BYTES_MAX)
            yield from account.tell("unreadable", _NO_NUMBER.format(name), lines[good & over])
            good &= ~over
            yield from account.tell(
                "negative", f"{name} below 0; left out", lines[good & (number < 0)]
            )
            good &= number >= 0
            amounts[name] = number
    if good.any():
        rows = _Rows(pops, at_ms, amounts, good, scale)
        yield Batch(
            Kind.AMOUNT,
            rows.added(cells.columns, until),
            read_rows=read_rows,
            place=cells.place,
        )


def _known(mask: pa.Array) -> npt.NDArray[np.bool_]:
    known: npt.NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False)
    return known


def _scale(columns: Mapping[str, Column], source: SourceFile) -> npt.NDArray[np.float64]:
    """Of each line, how many requests or packets it stands for."""
    if "scale" in columns:
        return np.asarray(columns["scale"], np.float64)
    return np.full(len(columns["pop"]), float(_sampling(source)))


def _sampling(source: SourceFile) -> int:
    return source.mapping.sampling if source.mapping else 1


def _moments(columns: Mapping[str, Column]) -> pa.Array:
    if "at" in columns:
        return as_ms(columns["at"])
    return date_time_ms(columns["date"], columns["time"])


def _named(pops: Column) -> pa.Array:
    if isinstance(pops, pa.ChunkedArray):
        pops = pops.combine_chunks()
    text = pops.cast(pa.string())
    known = pc.and_(pc.not_equal(text, ""), pc.not_equal(text, "-"))
    return pc.fill_null(known, False)


@dataclass(frozen=True, slots=True)
class _Rows:
    pops: Column
    at_ms: npt.NDArray[np.int64]
    amounts: Mapping[str, npt.NDArray[np.int64]]
    good: npt.NDArray[np.bool_]
    scale: npt.NDArray[np.float64]

    def added(self, columns: Mapping[str, Column], until: pa.Array | None) -> pa.Table:
        good = self.good
        words = self.pops.filter(pa.array(good))
        if isinstance(words, pa.ChunkedArray):
            words = words.combine_chunks()
        if not pa.types.is_dictionary(words.type):
            words = words.cast(pa.string()).dictionary_encode()
        codes = words.indices.to_numpy().astype(np.int64)
        amounts = {name: amount[good] for name, amount in self.amounts.items()}
        flags = np.zeros(len(codes), np.uint8)
        scale = self.scale[good]
        if (scale != 1).any():
            amounts = {name: np.rint(one * scale).astype(np.int64) for name, one in amounts.items()}
            flags[scale != 1] = Flag.SAMPLED
        if "is_out" in columns:
            is_out = np.asarray(columns["is_out"])[good]
            whole = amounts["out_bytes"]
            amounts = {"out_bytes": whole * is_out, "in_bytes": whole * ~is_out}
        slots = self.at_ms[good] // STEP_MS
        if until is not None:
            ends = until.fill_null(0).to_numpy()[good]
            at = self.at_ms[good]
            codes, flags, slots, amounts = _shared((codes, flags), (at, ends), amounts)
        return _summed(words.dictionary, (codes, slots, flags), amounts)


def _shared(
    rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]],
    span: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    amounts: Mapping[str, npt.NDArray[np.int64]],
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.uint8],
    npt.NDArray[np.int64],
    dict[str, npt.NDArray[np.int64]],
]:
    """Flows cut at the edges of intervals: of each, what had flowed until then, step by step."""
    codes, flags = rows
    at, ends = span
    ends = np.clip(ends, at, at + FLOW_MS_MAX)
    first = at // STEP_MS
    last = np.maximum(ends - 1, at) // STEP_MS
    pieces = last - first + 1
    flow = np.repeat(np.arange(len(at)), pieces)
    begins = np.cumsum(pieces) - pieces
    slots = first[flow] + np.arange(len(flow)) - begins[flow]
    length = np.maximum(ends - at, 1)[flow]
    passed = np.minimum((slots + 1) * STEP_MS - at[flow], length)
    found = {}
    for name, whole in amounts.items():
        # A share of a float is exact below 2^53; the last piece takes what is left, whole.
        until_then = np.floor(whole[flow] * (passed / length)).astype(np.int64)
        until_then[begins + pieces - 1] = whole
        before = np.zeros(len(flow), np.int64)
        before[1:] = until_then[:-1]
        before[begins] = 0
        found[name] = until_then - before
    return codes[flow], flags[flow], slots, found


def _summed(
    names: pa.Array,
    keys: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]],
    amounts: Mapping[str, npt.NDArray[np.int64]],
) -> pa.Table:
    codes, slots, flags = keys
    low = int(slots.min())
    span = int(slots.max()) - low + 1
    key = codes * span + (slots - low)
    unique, place = np.unique(key, return_inverse=True)
    columns: dict[str, pa.Array] = {
        "pop": pa.DictionaryArray.from_arrays(pa.array(unique // span, pa.int32()), names),
        "at_ms": pa.array((unique % span + low) * STEP_MS),
    }
    for name, amount in amounts.items():
        total = np.zeros(len(unique), np.uint64)
        np.add.at(total, place, amount.astype(np.uint64))
        columns[name] = pa.array(total)
    if flags.any():
        marked = np.zeros(len(unique), np.uint8)
        np.bitwise_or.at(marked, place, flags)
        columns["flags"] = pa.array(marked)
    return pa.table(columns)
