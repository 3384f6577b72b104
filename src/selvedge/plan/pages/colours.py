"""Colours that say how much: light for little, dark for much, told apart by everybody.

Nine steps of viridis reversed (Smith and van der Walt, CC0): lightness falls evenly, so that it can
be read in grey and by the colour-blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

STEPS: Final = (
    *("#fde725", "#addc30", "#5ec962", "#28ae80", "#21918c"),
    *("#2c728e", "#3b528b", "#472d7b", "#440154"),
)
NOTHING: Final = "#e5e7eb"
"""Of what was not measured."""


def step_of(value: float | None, low: float, high: float) -> int:
    """The step of a value, 0 to 8, or -1 for none; what lies outside takes the last one."""
    if value is None or value != value:
        return -1
    if high <= low:
        return 0
    part = (value - low) / (high - low)
    return min(len(STEPS) - 1, max(0, int(part * len(STEPS))))


def spread(values: Sequence[float | None]) -> tuple[float, float]:
    """The range that colours span: the middle 96 % of the values, so that one PoP is not all."""
    known = sorted(value for value in values if value is not None and value == value)
    if not known:
        return 0.0, 1.0
    cut = len(known) // 50
    return known[cut], known[len(known) - 1 - cut]
