"""What a kept answer is worth, and which ones leave: GreedyDual-Size-Frequency.

Cherkasova, "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy"
(HP Laboratories, 1998): an entry's value is the clock at its last use, plus what it saves × how
often it was used ÷ its bytes; the entry with the least value leaves, and the clock becomes that
value, so that what was worth much long ago does not stay for ever. What it saves is what the price
book asks for such an answer; an answer that costs nothing saves at least the engine's time, so it
counts `COST_LEAST`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

COST_LEAST: Final = 1
"""Micro-dollars."""
_SIZE_LEAST: Final = 1


def value_of(clock: float, cost_micro: int, uses: int, size: int) -> float:
    """The value of an entry that was used at this clock; ``uses`` counts its making as one."""
    return clock + max(cost_micro, COST_LEAST) * max(uses, 1) / max(size, _SIZE_LEAST)


def to_leave(
    values: Sequence[float], sizes: Sequence[int], bytes_over: int
) -> tuple[list[int], float]:
    """Which entries leave so that ``bytes_over`` are freed, least value first, and the new clock.

    The clock is the value of the last that leaves; with nothing to free it is 0.0: no news.
    """
    chosen: list[int] = []
    clock = 0.0
    freed = 0
    for at in sorted(range(len(values)), key=values.__getitem__):
        if freed >= bytes_over:
            break
        chosen.append(at)
        freed += sizes[at]
        clock = values[at]
    return chosen, clock


def over_share(used: Sequence[int], bytes_max: int) -> list[int]:
    """By how much each tenant must shrink so that all fit into ``bytes_max``.

    Shares are max-min fair: who needs less than an equal share leaves the rest to the others.
    """
    if sum(used) <= bytes_max:
        return [0] * len(used)
    left, over = bytes_max, [0] * len(used)
    order = sorted(range(len(used)), key=used.__getitem__)
    for place, at in enumerate(order):
        share = left // (len(order) - place)
        kept = min(used[at], share)
        over[at] = used[at] - kept
        left -= kept
    return over
