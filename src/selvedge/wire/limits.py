"""How much of a limit is left, as OpenAI's clients read it: ``x-ratelimit-*``.

Times until a limit begins again are durations as Go writes them (``28m0.747s``), not moments.
"""

from __future__ import annotations

from typing import Final

NAMED: Final = ("requests", "tokens")
"""The limits that these headers are of."""


def limit_names(named: str) -> tuple[str, str, str]:
    """The names of the three headers of one limit."""
    return (
        f"x-ratelimit-limit-{named}",
        f"x-ratelimit-remaining-{named}",
        f"x-ratelimit-reset-{named}",
    )


def limit_values(limit: int, left: int, reset_us: int) -> tuple[str, str, str]:
    """Their values."""
    return (str(limit), str(left), duration(reset_us))


def duration(us: int) -> str:
    """A duration as Go writes it, in whole milliseconds, a begun one counted."""
    ms = -(-max(0, us) // 1000)
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{ms // 1000}.{ms % 1000:03d}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds
