"""Mooncake's prefix cache (FAST'25, table 2 and figure 9): the ceiling, and LRU by capacity.

The conversation trace goes through `Blocks`, the memory that engines use, as one global cache: a
prompt's leading blocks are looked up, then all of its blocks are kept. Published: 40 % of prompt
tokens can be reused at most, and with 3 M tokens of room LRU reaches what the figure labels 41 % of
that, with about 50 M all of it. Beside them stand the shares that routing.md measured on the trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selvedge.sim.blocks import Blocks
from selvedge.sim.mooncake import BLOCK_TOKENS, read_mooncake
from selvedge.sim.pool import Timed
from selvedge.sim.validate.check import Check, within

_UNBOUNDED: Final = 1 << 60
_POINTS: Final = 4.0
_OWN_POINTS: Final = 0.2
_CURVE: Final = ((3_000_000, 41.0, 37.1), (50_000_000, 100.0, 99.2))


def check_cache(lines: Sequence[bytes]) -> list[Check]:
    """The ceiling and two points of the curve."""
    requests = read_mooncake(lines, "mooncake conversation trace")
    ceiling = reuse(requests, _UNBOUNDED)
    checks = [
        within("ceiling, % of prompt tokens (published)", 100 * ceiling, 40.0, _POINTS),
        within("ceiling, % of prompt tokens (measured)", 100 * ceiling, 37.4, _OWN_POINTS),
    ]
    for capacity, published, measured in _CURVE:
        share = 100 * reuse(requests, capacity) / ceiling
        name = f"LRU of {capacity // 1_000_000} M tokens, % of the ceiling"
        checks.append(within(f"{name} (published)", share, published, _POINTS))
        checks.append(within(f"{name} (measured)", share, measured, _OWN_POINTS))
    return checks


def reuse(requests: Sequence[Timed], capacity: int) -> float:
    """The share of prompt tokens found in a cache of so many tokens."""
    blocks = Blocks(capacity)
    asked = found = 0
    for request in requests:
        work = request.work
        known = blocks.matched(work.prefix, len(work.prefix))
        asked += work.prompt_tokens
        found += min(work.prompt_tokens, known * BLOCK_TOKENS)
        blocks.take(work.prefix, known, BLOCK_TOKENS)
        blocks.held += (len(work.prefix) - known) * BLOCK_TOKENS
        blocks.keep(work.prefix, known, len(work.prefix), BLOCK_TOKENS)
        blocks.release(work.prefix, len(work.prefix), BLOCK_TOKENS)
        blocks.evict()
    return found / asked
