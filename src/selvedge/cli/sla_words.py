"""Service levels in words and small charts: the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from selvedge.ledger import PPM, DayMark, ServiceMonth, Verdict

KINDS: Final = {
    "availability": "availability",
    "ttft_p95": "first token p95",
    "itl_p95": "between tokens p95",
}
BARS: Final = "▁▂▃▄▅▆▇█"
NO_SIGN: Final = "·"


def share_words(ppm: int | None) -> str:
    """Parts per million as percent; exact, never rounded up to a promise."""
    if ppm is None:
        return "-"
    sign = "-" if ppm < 0 else ""
    whole, rest = divmod(abs(ppm), PPM // 100)
    digits = f"{rest:04}".rstrip("0")
    return f"{sign}{whole}{'.' if digits else ''}{digits} %"


def time_words(micros: int | None) -> str:
    """Microseconds as milliseconds."""
    if micros is None:
        return "-"
    whole, rest = divmod(micros, 1_000)
    return f"{whole:,}{f'.{rest // 100}' if rest else ''} ms"


def milli_words(milli: int | None) -> str:
    """Thousandths as a number."""
    return "-" if milli is None else f"{milli // 1_000:,}.{milli % 1_000 // 10:02}"


def verdict_words(one: Verdict) -> tuple[str, str, str, str]:
    """Kind, promised, measured, kept."""
    words = share_words if one.kind == "availability" else time_words
    kept = {None: "not measured", True: "kept", False: "MISSED"}[one.met]
    return KINDS[one.kind], words(one.promised), words(one.measured), kept


def budget_words(one: ServiceMonth) -> str:
    """How much of the error budget is spent."""
    if one.budget is None:
        return "-"
    if one.budget.spent_ppm is None:
        return "all: none may fail"
    return f"{one.budget.spent_ppm // (PPM // 100)} % of {one.budget.allowed:,}"


def chart_line(one: ServiceMonth) -> Iterator[tuple[str, str]]:
    """A line a measure with a sign a day: the higher, the worse."""
    bad = [None if day.availability_ppm is None else PPM - day.availability_ppm for day in one.days]
    yield "failed", bars(bad)
    for kind, name in (("ttft_p95_us", "first token"), ("itl_p95_us", "between")):
        values: list[int | None] = [getattr(day, kind) for day in one.days]
        if any(value is not None for value in values):
            yield name, bars(values)


def bars(values: Sequence[int | None]) -> str:
    """One sign a value, from 0 to the largest; a value of nothing has a sign of its own."""
    most = max((value for value in values if value is not None), default=0)
    return "".join(
        NO_SIGN
        if value is None
        else BARS[0 if not most else min(len(BARS) - 1, value * len(BARS) // most)]
        for value in values
    )


def worst_day(days: Sequence[DayMark]) -> DayMark | None:
    """The day with the lowest availability; None where nothing was lost."""
    failed = [day for day in days if day.bad]
    return min(failed, key=lambda day: (day.availability_ppm or 0, day.day), default=None)
