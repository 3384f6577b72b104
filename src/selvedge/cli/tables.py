"""Tables for people: never cut, whatever the width of the terminal."""

from __future__ import annotations

from rich.console import Console

WIDTH_MIN = 220


def console() -> Console:
    """A console that lets a long row run on rather than cutting an id."""
    found = Console(highlight=False, soft_wrap=True)
    found.width = max(found.width, WIDTH_MIN)
    return found
