"""Cedar as text, before its parser sees it: one policy from the next, and how deep each goes.

The parser recurses, and so does whatever reads its tree: past some hundreds of levels they take the
process with them. What nests or joins that deep is refused here, where it can still be named.
"""

from __future__ import annotations

import re
from typing import Final

from selvedge.fabric import BadRelease

NESTED_MAX: Final = 32
JOINED_MAX: Final = 256
_TOKEN: Final = re.compile(
    r"""(?P<skip>//[^\n]*|"(?:\\.|[^"\\])*")"""
    r"""|(?P<open>[({\[])|(?P<close>[)}\]])|(?P<end>;)|(?P<join>&&|\|\||[-+*.!]|\bif\b)""",
    re.DOTALL,
)


def split_policies(text: str) -> list[str]:
    """The policies of a text, in order, each with what stands before it. Raises `BadRelease`."""
    found: list[str] = []
    begun = depth = joined = 0
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "open":
                depth += 1
            case "close":
                depth -= 1
            case "join":
                joined += 1
            case "end" if depth == 0:
                found.append(text[begun : token.end()])
                begun, joined = token.end(), 0
        if depth > NESTED_MAX or joined > JOINED_MAX:
            line = text.count("\n", 0, token.start()) + 1
            what = f"nests deeper than {NESTED_MAX}" if depth > NESTED_MAX else _JOINED
            raise BadRelease("policies", f"line {line}: a policy {what}; split it, or use sets")
    return found


_JOINED: Final = f"joins more than {JOINED_MAX} parts"
