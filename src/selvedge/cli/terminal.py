"""Text from elsewhere, made fit for a terminal: it may be read, it may not give orders.

A model's answer, an engine's complaint or a field of a receipt can hold escape sequences that move
the cursor, rename the window or hide what was printed. Control characters and those that reorder a
line (Unicode TR36) are shown as `\\uXXXX`, which is also valid inside a JSON string.
"""

from __future__ import annotations

import re
from typing import Final

_ORDERS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


def printable(text: str) -> str:
    """The text with every such character spelled out; tab and newline stay."""
    return _ORDERS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
