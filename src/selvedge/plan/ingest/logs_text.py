"""The combined log of nginx, Apache and Varnish's `varnishncsa`, line by line by an expression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.logs_adding import Cells, add_up
from selvedge.plan.ingest.logs_cells import Column
from selvedge.plan.ingest.logs_fields import OF_FILE
from selvedge.plan.ingest.logs_json import constant
from selvedge.plan.ingest.logs_lines import Account, Block, read_blocks, split_lines
from selvedge.plan.ingest.mapping import PopColumn
from selvedge.plan.ingest.reading import Batch, SourceFile

VHOST: Final = "vhost"
"""As `pop.column`: what stands before the client's address, as in `vhost_combined`."""
_HEAD: Final = rb"(?m)^(\S+) [^\[\n]*\[([^\]\n]{20,32})\] "
_TAIL: Final = rb" \d{3} (\d+|-)(?=[\s])"
_QUICK: Final = re.compile(_HEAD + rb'"[^"\n]*"' + _TAIL)
_ESCAPED: Final = re.compile(_HEAD + rb'"(?:[^"\\\n]|\\.)*"' + _TAIL)


def read_combined(source: SourceFile) -> Iterator[Batch | Finding]:
    """Read a combined log: its bytes are the bodies', without headers.

    Raises `BadPlan` where nothing says which PoP it is of, or no line is of the form.
    """
    pop = source.mapping.pop if source.mapping else PopColumn()
    word = source.name if pop.column == OF_FILE else pop.value
    if not word and pop.column != VHOST:
        raise BadPlan(
            f"{source.name}: a combined log does not say which PoP it is of; give pop.value in "
            "the mapping file, or pop.column: file (and a pattern) or vhost."
        )
    account = Account(source)
    any_good = False
    for block in read_blocks(source):
        cells = _cells(block, word)
        any_good |= len(cells.lines) > 0
        yield from add_up(cells, account, block.lines)
    if not any_good:
        raise BadPlan(
            f'{source.name}: no line is of a combined log (address, [time], "request", status, '
            "bytes); log it so, or as JSON."
        )
    yield from account.rest()


def _cells(block: Block, word: str) -> Cells:
    found = _QUICK.findall(block.data)
    numbers = list(range(block.first_line, block.first_line + block.lines))
    bad: list[int] = []
    if len(found) != block.lines:
        found, numbers, bad = _one_by_one(block)
    first, times, sizes = zip(*found, strict=True) if found else ((), (), ())
    columns: dict[str, Column] = {
        "pop": constant(word, len(found)) if word else _text(first),
        "at": _text(times),
        "out_bytes": _text(sizes),
    }
    return Cells(columns, np.asarray(numbers, np.int64), bad)


def _one_by_one(
    block: Block,
) -> tuple[list[tuple[bytes, bytes, bytes]], list[int], list[int]]:
    found, numbers, bad = [], [], []
    for number, line in split_lines(block):
        match = _ESCAPED.match(line + b"\n")
        if match is None:
            bad.append(number)
        else:
            one, time, size = match.groups()
            found.append((one, time, size))
            numbers.append(number)
    return found, numbers, bad


def _text(cells: tuple[bytes, ...]) -> pa.Array:
    # Arrow checks that it is UTF-8; what the expression took is, but for a client's own bytes.
    try:
        return pa.array(cells, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([one.decode("utf-8", "replace") for one in cells], pa.string())
