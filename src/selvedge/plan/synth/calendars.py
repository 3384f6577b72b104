"""What day it is, and where: months, clocks, weekends, holidays, evenings of sport, releases.

The tables are short on purpose and say what they leave out: national holidays with a date of their
own, the moving ones that empty offices in many countries, nothing regional, nothing by religion
beside the country's own calendar. They shape made-up traffic; nobody's report reads them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from selvedge.plan.history import STEP_S, BadPlan

DAY_S: Final = 86_400
EPOCH: Final = date(1970, 1, 1)
Floats = npt.NDArray[np.float64]

_FRIDAY_SATURDAY: Final = "BD BH DZ EG IL IQ JO KW LY MV OM PS QA SA SD SY YE"
_FRIDAY: Final = "AF IR"
WEEKENDS: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(_FRIDAY_SATURDAY.split(), (4, 5)),
        **dict.fromkeys(_FRIDAY.split(), (3, 4)),
        "NP": (5,),
        "BN": (4, 6),
    }
)
"""Days off by country, Monday is 0; elsewhere Saturday and Sunday."""

FIXED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "*": "01-01 12-25",
        "AR": "05-25 07-09",
        "AU": "01-26 04-25 12-26",
        "BR": "04-21 05-01 09-07 10-12 11-02 11-15",
        "CA": "07-01 12-26",
        "CN": "05-01 05-02 10-01 10-02 10-03 10-04 10-05 10-06 10-07",
        "DE": "05-01 10-03 12-26",
        "ES": "01-06 05-01 08-15 10-12 11-01 12-06",
        "FR": "05-01 05-08 07-14 08-15 11-01 11-11",
        "GB": "12-26",
        "ID": "05-01 08-17",
        "IN": "01-26 08-15 10-02",
        "IT": "04-25 05-01 06-02 08-15 11-01 12-08 12-26",
        "JP": "01-02 01-03 02-11 02-23 04-29 05-03 05-04 05-05 08-11 11-03 11-23",
        "KR": "03-01 05-05 06-06 08-15 10-03 10-09",
        "MX": "02-05 05-01 09-16 11-20",
        "NG": "05-01 06-12 10-01",
        "PH": "04-09 05-01 06-12 08-21 11-01 11-30 12-30",
        "PL": "05-01 05-03 08-15 11-01 11-11 12-26",
        "RU": "01-02 01-03 01-07 02-23 03-08 05-01 05-09 06-12 11-04",
        "TR": "04-23 05-01 05-19 07-15 08-30 10-29",
        "US": "06-19 07-04 11-11",
        "VN": "04-30 05-01 09-02",
        "ZA": "03-21 04-27 05-01 06-16 09-24 12-16 12-26",
    }
)
"""National holidays on fixed dates: the larger countries of the list."""
_LUNAR: Final = (
    "2024-02-10 2025-01-29 2026-02-17 2027-02-06 2028-01-26",
    "CN HK KR MY SG TW VN ID PH",
    3,
)
_FITR: Final = (
    "2024-04-10 2025-03-31 2026-03-20 2027-03-10 2028-02-27",
    "AE BD BH DZ EG ID IQ IR JO KW LY MA MY OM PK QA SA SD SY TN TR YE",
    3,
)
_ADHA: Final = ("2024-06-16 2025-06-06 2026-05-27 2027-05-16 2028-05-05", _FITR[1], 3)
_DIWALI: Final = ("2024-11-01 2025-10-21 2026-11-08 2027-10-29 2028-10-17", "IN NP LK SG", 1)
MOVING: Final = (_LUNAR, _FITR, _ADHA, _DIWALI)
"""First day by year, countries, days."""
_EASTER: Final = "AR AT AU BE BR CA CH CO CZ DE DK ES FR GB HU IE IT MX NG NL NO PE PH PL PT SE ZA"
WORLD_CUP: Final = (date(2026, 6, 11), date(2026, 7, 20))


def month_starts(first: str, count: int) -> list[int]:
    """Starts of the months, and the end of the last one, in seconds UTC. Raises `BadPlan`."""
    if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", first):
        raise BadPlan(f"--from {first!r} is no month; write it as 2025-05.")
    if not 1 <= count <= 120:
        raise BadPlan(f"--months {count} is outside 1 to 120.")
    at = int(first[:4]) * 12 + int(first[5:]) - 1
    months = [divmod(at + one, 12) for one in range(count + 1)]
    return [int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) for year, month in months]


def month_name(start_s: int) -> str:
    """As folders of a history call it."""
    return datetime.fromtimestamp(start_s, UTC).strftime("%Y-%m")


class Clock:
    """A zone's offset from UTC over a period, by IANA's data: daylight saving included."""

    def __init__(self, zone: str, from_s: int, until_s: int) -> None:
        info = ZoneInfo(zone)

        def offset(at_s: int) -> int:
            found = datetime.fromtimestamp(at_s, info).utcoffset()
            return int(found.total_seconds()) if found is not None else 0

        self._since = [from_s]
        self._offsets = [offset(from_s)]
        for day in range(from_s, until_s, DAY_S):
            low, high = day, day + DAY_S
            if offset(high) == self._offsets[-1]:
                continue
            while high - low > STEP_S:
                middle = (low + high) // 2 // STEP_S * STEP_S
                low, high = (middle, high) if offset(middle) == self._offsets[-1] else (low, middle)
            self._since.append(high)
            self._offsets.append(offset(high))

    def offsets(self, from_s: int, steps: int) -> npt.NDArray[np.int32]:
        """Of each step, in seconds."""
        found = np.empty(steps, np.int32)
        at = max(0, bisect_right(self._since, from_s) - 1)
        found[:] = self._offsets[at]
        for since, offset in zip(self._since[at + 1 :], self._offsets[at + 1 :], strict=True):
            found[max(0, (since - from_s) // STEP_S) :] = offset
            if since > from_s + steps * STEP_S:
                break
        return found


def holidays(country: str, from_s: int, until_s: int) -> set[int]:
    """Days since 1970 on which the country does not work, beside its weekends."""
    first, last = from_s // DAY_S, until_s // DAY_S
    years = range((EPOCH + timedelta(first)).year - 1, (EPOCH + timedelta(last)).year + 2)
    found = set()
    for words in (FIXED["*"], FIXED.get(country, "")):
        for year in years:
            found |= {_number(date.fromisoformat(f"{year}-{one}")) for one in words.split()}
    for starts, countries, days in MOVING:
        if country in countries.split():
            for start in starts.split():
                at = _number(date.fromisoformat(start))
                found |= set(range(at, at + days))
    if country in _EASTER.split():
        found |= {_number(easter(year)) + shift for year in years for shift in (-2, 0, 1)}
    if country == "US":
        found |= {_thanksgiving(year) + shift for year in years for shift in (0, 1)}
    return {day for day in found if first <= day <= last}


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus 1991, chapter 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def _thanksgiving(year: int) -> int:
    first = date(year, 11, 1)
    return _number(first) + (3 - first.weekday()) % 7 + 21


def _number(day: date) -> int:
    return (day - EPOCH).days


def evenings_of_sport(seed: int, days: Sequence[int]) -> Floats:
    """By day, how much higher the evening goes in a country of that seed; 0 on most."""
    rng = np.random.default_rng(seed)
    chance = np.zeros(len(days))
    weekday = (np.asarray(days) + 3) % 7
    chance[weekday == 5] = 0.35
    chance[weekday == 2] = 0.25
    height = rng.uniform(0.06, 0.30, len(days))
    drawn = rng.random(len(days))
    found = np.where(drawn < chance, height, 0.0)
    cup = np.array([WORLD_CUP[0] <= EPOCH + timedelta(int(day)) < WORLD_CUP[1] for day in days])
    return np.where(cup, np.maximum(found, height), found)


def releases(seed: int, from_s: int, until_s: int) -> list[tuple[int, float, float]]:
    """Start, height and decay in hours of software and games that everybody downloads at once."""
    rng = np.random.default_rng([seed, 71])
    found = []
    for week in range(from_s // DAY_S // 7 - 1, until_s // DAY_S // 7 + 1):
        drawn = rng.random(5)
        if drawn[0] < 0.55:
            day = week * 7 + 5 + int(drawn[1] * 3)  # Tuesday to Thursday: 1970 began on one
            start = day * DAY_S + 3600 * (15 + int(drawn[2] * 5))
            found.append((start, 0.05 + 0.4 * float(drawn[3]) ** 3, 8 + 20 * float(drawn[4])))
    return found


def release_height(
    found: Sequence[tuple[int, float, float]], from_s: int, steps: int
) -> npt.NDArray[np.float32]:
    """By step, what all releases add together, as a share of a PoP's traffic."""
    at = from_s + STEP_S * np.arange(steps)
    height = np.zeros(steps)
    for start, top, hours in found:
        since = (at - start) / 3600
        rise = np.clip(since / 0.75, 0, 1)
        height += np.where(since > 0, top * rise * np.exp(-np.maximum(since, 0) / hours), 0.0)
    return height.astype(np.float32)
