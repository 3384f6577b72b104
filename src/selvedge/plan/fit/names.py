"""What somebody may have meant by a name that is not in a table."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_LONGEST: Final = 80


def nearest(name: str, known: Iterable[str]) -> str:
    """Words to end a refusal with: ``; did you mean X``, or nothing."""
    spelled = {one.casefold(): one for one in known}
    wanted = name.casefold()[:_LONGEST]
    found = get_close_matches(wanted, spelled, n=2, cutoff=0.6)
    found = found or [one for one in spelled if wanted and one.startswith(wanted)][:3]
    return f"; did you mean {' or '.join(spelled[one] for one in found)}" if found else ""


def shortened(name: str) -> str:
    """A name as it is quoted: whole, or its beginning."""
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...")
