"""Mooncake's traces (FAST'25): requests as arrival, lengths and the names of prefix blocks.

One JSON object per line: ``timestamp`` in milliseconds, ``input_length`` and ``output_length`` in
tokens, ``hash_ids``, one per begun block of 512 tokens, each of which stands for the prompt up to
its end. The file is read by whoever may read files; here are its lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from selvedge.fabric import SelvedgeError
from selvedge.sim.engines import Work
from selvedge.sim.pool import Timed

BLOCK_TOKENS: Final = 512


class BadTrace(SelvedgeError):
    """A trace that cannot be played; the text names the file, the line and the remedy."""

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(f"{name}:{line}: {why}")


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timestamp: int
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


_DECODER: Final = msgspec.json.Decoder(_Row)


def read_mooncake(lines: Iterable[bytes], name: str = "trace") -> list[Timed]:
    """Every request of a trace. Raises `BadTrace`."""
    requests: list[Timed] = []
    before = 0
    for number, line in enumerate(lines, 1):
        try:
            row = _DECODER.decode(line)
        except msgspec.MsgspecError as error:
            raise BadTrace(name, number, f"{error}; one object per line is expected") from error
        _check(row, before, name, number)
        before = row.timestamp
        work = Work(row.input_length, row.output_length, row.hash_ids, BLOCK_TOKENS)
        requests.append(Timed(row.timestamp * 1000, work))
    if not requests:
        raise BadTrace(name, 1, "holds no request; give a file with at least one line")
    return requests


def _check(row: _Row, before: int, name: str, number: int) -> None:
    if row.timestamp < 0:
        raise BadTrace(name, number, "timestamp is negative; count milliseconds from 0")
    if row.timestamp < before:
        raise BadTrace(name, number, "timestamp is before the last line's; sort the file by it")
    if row.input_length < 1 or row.output_length < 1:
        raise BadTrace(name, number, "input_length and output_length are at least 1; drop the line")
    blocks = -(-row.input_length // BLOCK_TOKENS)
    if len(row.hash_ids) > blocks:
        why = f"hash_ids names {len(row.hash_ids)} blocks of {BLOCK_TOKENS} tokens, the prompt has"
        raise BadTrace(name, number, f"{why} {blocks}; correct either")
