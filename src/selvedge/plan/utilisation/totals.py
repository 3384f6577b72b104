"""Sums of whole numbers that may pass 64 bits: exact, whatever the fleet.

Bytes pass 2^63 soon: a PoP that sends 28 Tb/s does in a month, one of 3 Tb/s in ten, and 4,100 PoPs
of 100 Gb/s together in some two days. What can pass is added up as two words, and then a whole
number of Python. Where nothing is so large, and that is most of what is asked, it is an array of
`int64`: the same numbers, sooner.

What is not added up here is small enough: the bytes of all PoPs in one moment fit up to 245 Pb/s,
those of one PoP's hour of the week up to 36 months of 125 Tb/s.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

WORD: Final = 32
"""Bits of the lower word."""
LOW: Final = 2**WORD - 1
_LIMIT: Final = 2**63

Ints = npt.NDArray[np.int64]
Whole = npt.NDArray[Any]
"""`int64`, or whole numbers of Python."""


def whole(high: Ints, low: Ints) -> Whole:
    """Of two words, or two sums of them, what they say together."""
    return np.asarray(high.astype(object) * 2**WORD + low)


def total(values: Ints) -> int:
    """Of all of them; they are not below 0."""
    found: int = int((values >> WORD).sum()) * 2**WORD + int((values & LOW).sum())
    return found


def totals(values: Ints, axis: int) -> Whole:
    """Along an axis; they are not below 0."""
    if int(values.max(initial=0)) * values.shape[axis] < _LIMIT:
        return np.asarray(values.sum(axis=axis))
    return whole((values >> WORD).sum(axis=axis), (values & LOW).sum(axis=axis))


def totals_between(values: Ints, begins: Ints) -> Whole:
    """Of runs that begin at these places, the first at 0; they are not below 0."""
    most = int(np.diff(begins, append=len(values)).max())
    if int(values.max()) * most < _LIMIT:
        return np.asarray(np.add.reduceat(values, begins))
    high, low = (np.add.reduceat(word, begins) for word in (values >> WORD, values & LOW))
    return whole(high, low)
