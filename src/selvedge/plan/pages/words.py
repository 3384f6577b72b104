"""Numbers as a reader says them, and tables as CSV that a browser can save."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from selvedge.plan.pages.charts import bits

__all__ = [
    "bits",
    "count",
    "day",
    "excluded",
    "moment",
    "month_name",
    "percent",
    "resource",
    "saved",
    "short_day",
    "window",
]

_EXCLUDED: Final = {
    "over_capacity": "with more bytes than the interfaces can carry",
    "twice": "of a moment that is there already",
    "unknown_pop": "of a PoP that the fleet file does not name",
}
_RESOURCES: Final = {"nic": "network", "cpu": "processors", "gpu": "GPUs"}


def percent(value: float | None, places: int = 1) -> str:
    """A share in percent."""
    return "–" if value is None or value != value else f"{value * 100:.{places}f} %"


def count(value: float | None) -> str:
    """A whole number with its thousands set apart."""
    return "–" if value is None else f"{value:,.0f}"


def excluded(why: str) -> str:
    """Why rows do not count, after their number."""
    return _EXCLUDED.get(why, why)


def moment(at_s: int) -> str:
    """Seconds as a UTC minute."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}" if at_s else "–"


def day(at_s: int) -> str:
    """Seconds as a UTC day."""
    return f"{datetime.fromtimestamp(at_s, UTC):%-d %B %Y}"


def short_day(at_s: int) -> str:
    """Seconds as a UTC day, without its year."""
    return f"{datetime.fromtimestamp(at_s, UTC):%-d %b}"


def month_name(month: str) -> str:
    """`2026-01` as `Jan 2026`."""
    return f"{datetime.strptime(month, '%Y-%m').replace(tzinfo=UTC):%b %Y}"


def resource(name: str | None) -> str:
    """What runs out first, in words; of none that nothing was measured."""
    return _RESOURCES.get(name, name) if name else "nothing measured"


def window(start: int | None) -> str:
    """Five hours of a local day, from a whole hour on."""
    return "–" if start is None else f"{start:02d}:00–{(start + 5) % 24:02d}:00"


def saved(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as a `data:` address: it is saved from the page itself, with nothing behind it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return "data:text/csv;base64," + base64.b64encode(text.getvalue().encode()).decode()


def _cell(value: Any) -> Any:  # a cell is text, a number or None
    """A sheet takes a cell that begins so for a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return f"{value:.6g}" if isinstance(value, float) else value
