"""Who a PoP is: how busy, how it grows, its daily shape, what is installed, all drawn by seed.

The night of the fleet is set, not found: each PoP's shape is scaled so that its mean over the hours
from 23:00 to 04:00 is drawn around the asked figure, and one factor for the whole fleet, found by
making a sample of days, takes up what clipping and the calendar shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.plan.history import STEP_S, WHOLE_BP, PopSite
from selvedge.plan.synth.calendars import (
    DAY_S,
    WEEKENDS,
    Clock,
    evenings_of_sport,
    holidays,
    release_height,
    releases,
)
from selvedge.plan.synth.places import Place
from selvedge.plan.synth.series import (
    CPU_BASE,
    CPU_SLOPE,
    GPU_BASE,
    IN_SHARE,
    LEVEL,
    MEMORY_BASE,
    NOISE,
    RELEASE,
    SLOTS,
    TRAITS,
    Drive,
    fill,
    key_of,
)

NIGHT_USE: Final = 0.38
"""Mean use from 23:00 to 04:00 local time over the fleet: the figure the house began with."""
GPU_POPS: Final = 87
GPU_AMONG: Final = 200
"""GPU PoPs stand at 87 of the 200 busiest, as in the seed example; fewer in smaller fleets."""
GIGABITS: Final = (10, 20, 40, 60, 80, 100, 200, 400)
UPGRADED: Final = 0.19
"""Share of PoPs whose interfaces grow within a year."""
Floats = npt.NDArray[np.float64]


class Trait(msgspec.Struct, frozen=True, kw_only=True):
    """A PoP, made up."""

    place: Place
    number: int
    """Of its noise: a PoP that was renamed keeps it."""
    key: int
    values: Floats
    """As `series.fill` reads them."""
    curve: Floats
    """By kind of day and slot of the local day; the third row is an evening of sport."""
    yearly: float
    """Growth of traffic in a year, as a logarithm."""
    upgrade_s: int
    """When its capacity changes; 0 for never."""
    before_bps: int
    after_bps: int
    outages: tuple[tuple[int, int], ...]
    """From and until, seconds UTC."""
    gpus: int
    installed: PopSite

    def capacity(self, from_s: int, steps: int) -> npt.NDArray[np.uint64]:
        """Bits per second, by step."""
        found = np.full(steps, self.after_bps, np.uint64)
        if self.upgrade_s:
            found[: max(0, (self.upgrade_s - from_s) // STEP_S)] = self.before_bps
        return found


class Period(msgspec.Struct, frozen=True):
    """From when to when, and what happens to all."""

    seed: int
    from_s: int
    until_s: int
    releases: tuple[tuple[int, float, float], ...]

    @property
    def middle_s(self) -> int:
        """Where growth is 1."""
        return (self.from_s + self.until_s) // 2


def make_period(seed: int, from_s: int, until_s: int) -> Period:
    """With the releases of that seed."""
    return Period(seed, from_s, until_s, tuple(releases(seed, from_s, until_s)))


def growth_of(trait: Trait, period: Period, from_s: int, steps: int) -> Floats:
    """Traffic over capacity by step, apart from day and week; 1 in the mean of the period."""
    at = from_s + STEP_S * np.arange(steps)
    found = _raw_growth(trait, period, at)
    days = np.arange(period.from_s, period.until_s, DAY_S)
    result: Floats = found / _raw_growth(trait, period, days).mean()
    return result


def _raw_growth(trait: Trait, period: Period, at: npt.NDArray[np.int64]) -> Floats:
    year = 365.25 * DAY_S
    winter = 0.035 if trait.place.lat >= 0 else -0.035
    found = np.exp(trait.yearly * (at - period.middle_s) / year)
    found *= 1 + winter * np.cos(2 * np.pi * (at / year - 0.04))
    if trait.upgrade_s:
        found *= np.where(at < trait.upgrade_s, trait.after_bps / trait.before_bps, 1.0)
    result: Floats = found
    return result


def day_table(place: Place, period: Period, from_s: int, until_s: int) -> Floats:
    """Kind of each local day (0 works, 1 does not), and its evening of sport."""
    days = range(from_s // DAY_S - 1, until_s // DAY_S + 3)
    off = holidays(place.country, days[0] * DAY_S, days[-1] * DAY_S)
    weekend = WEEKENDS.get(place.country, (5, 6))
    found = np.zeros((2, len(days)))
    found[0] = [day in off or (day + 3) % 7 in weekend for day in days]
    # Drawn over the whole period, so that a month by itself has the same evenings.
    whole = range(period.from_s // DAY_S - 2, period.until_s // DAY_S + 4)
    seed = period.seed * 1_000_003 + int.from_bytes(place.country.encode(), "big")
    nights = evenings_of_sport(seed, whole)
    at = days[0] - whole[0]
    found[1] = nights[at : at + len(days)]
    return found


def make_traits(places: Sequence[Place], period: Period) -> list[Trait]:
    """Every PoP of the fleet, with the fleet's factor in its level."""
    among = min(GPU_AMONG, len(places))
    with_gpu = min(GPU_POPS, max(1, among * GPU_POPS // GPU_AMONG))
    rng = np.random.default_rng([period.seed, 3])
    chosen = set(rng.choice(among, with_gpu, replace=False).tolist())
    found = [
        _make_trait(place, number, period, number in chosen) for number, place in enumerate(places)
    ]
    for _ in range(3):
        level = sum(float(trait.values[LEVEL]) for trait in found) / len(found)
        factor = NIGHT_USE / level / _night_bend(found, period)
        for trait in found:
            trait.values[LEVEL] *= factor
    return found


def _make_trait(place: Place, number: int, period: Period, gpu: bool) -> Trait:
    rng = np.random.default_rng([period.seed, 5, number])
    gpus = int(rng.choice([4, 8, 8, 16])) if gpu else 0
    yearly = float(np.clip(rng.normal(0.14, 0.09), -0.15, 0.45))
    upgrade_s, before, after = _draw_capacity(rng, place, period)
    curve = _draw_curve(rng)
    values = np.zeros(TRAITS)
    values[LEVEL] = float(np.clip(rng.normal(NIGHT_USE, 0.085), 0.12, 0.62))
    values[NOISE] = rng.uniform(0.6, 1.5) * (1.2 if after < 40 * 10**9 else 0.9)
    values[RELEASE] = rng.gamma(4.0, 0.25)
    values[IN_SHARE] = rng.uniform(0.03, 0.11)
    values[CPU_BASE] = rng.uniform(0.05, 0.15)
    values[CPU_SLOPE] = rng.uniform(0.45, 0.80)
    values[MEMORY_BASE] = rng.uniform(0.35, 0.70)
    values[GPU_BASE] = rng.uniform(0.35, 0.75) if gpu else 0.0
    return Trait(
        place=place,
        number=number,
        key=int(key_of(period.seed, number)),
        values=values,
        curve=curve,
        yearly=yearly,
        upgrade_s=upgrade_s,
        before_bps=before,
        after_bps=after,
        outages=_draw_outages(rng, period),
        gpus=gpus,
        installed=_install(rng, place, after, gpus),
    )


def _draw_capacity(rng: np.random.Generator, place: Place, period: Period) -> tuple[int, int, int]:
    """When capacity changes (0: never), before and after, bits per second."""
    wanted = place.traffic / 2e4 * float(rng.lognormal(0, 0.35))
    at = int(np.searchsorted(GIGABITS, min(wanted, GIGABITS[-1])))
    drawn, when = float(rng.random()), float(rng.uniform(0.12, 0.88))
    if drawn >= UPGRADED * (period.until_s - period.from_s) / (365 * DAY_S):
        return 0, GIGABITS[at] * 10**9, GIGABITS[at] * 10**9
    at = max(at, 1)
    after = GIGABITS[at]
    steps = int((period.until_s - period.from_s) * when) // STEP_S
    return period.from_s + steps * STEP_S, GIGABITS[at - 1] * 10**9, after * 10**9


def _draw_curve(rng: np.random.Generator) -> Floats:
    """Shapes of a working day, a day off and an evening of sport; the night's mean is 1."""
    hour = np.arange(SLOTS) / (SLOTS / 24)
    late = float(rng.normal(0, 0.45))
    homes = float(rng.uniform(0.55, 1.0))

    def bump(at: float, width: float) -> Floats:
        off = (hour - at - late + 12) % 24 - 12
        result: Floats = np.exp(-0.5 * (off / width) ** 2)
        return result

    base = float(rng.uniform(0.50, 0.62))
    work = base + homes * (0.62 * bump(20.9, 2.3) + 0.22 * bump(13, 2.6)) + 0.10 * bump(23.2, 1.4)
    work += (1 - homes) * 0.55 * (bump(11, 2.4) + bump(15.5, 2.4)) - 0.24 * bump(4.6, 2.0)
    off = base + homes * (0.60 * bump(20.6, 2.9) + 0.34 * bump(14.2, 3.4)) + 0.15 * bump(23.6, 1.6)
    off += (1 - homes) * 0.16 * bump(13.5, 3.0) - 0.22 * bump(5.3, 2.1)
    sport = bump(20.7 - late, 0.9)
    night = (hour >= 23) | (hour < 4)
    mean = (5 * work[night].mean() + 2 * off[night].mean()) / 7
    return np.stack([work / mean, off / mean, sport * 1.6])


def _draw_outages(rng: np.random.Generator, period: Period) -> tuple[tuple[int, int], ...]:
    """About one in 14 months: 20 minutes to 2 hours with hardly any traffic. Not a fault of data:
    the network card did stand still."""
    years = (period.until_s - period.from_s) / (365 * DAY_S)
    found = []
    for _ in range(int(rng.poisson(0.85 * years))):
        steps = int(rng.integers(0, (period.until_s - period.from_s) // STEP_S))
        start = period.from_s + steps * STEP_S
        found.append((start, start + STEP_S * int(rng.integers(4, 25))))
    return tuple(sorted(found))


def _install(rng: np.random.Generator, place: Place, nic_bps: int, gpus: int) -> PopSite:
    servers = max(4, nic_bps // (10 * 10**9) * 2)
    limit = round((servers * 0.6 + gpus * 0.5) * float(rng.uniform(1.15, 1.9)) + 4, 1)
    return PopSite(
        pop=place.pop,
        country=place.country,
        metro=place.city,
        timezone=place.timezone,
        lat=place.lat,
        lon=place.lon,
        population=place.population,
        nic_bps=nic_bps,
        cpu_cores=servers * 32,
        memory_gb=float(servers * 256),
        gpu="L40S" if gpus else "",
        gpus=gpus,
        power_limit_kw=limit,
        power_kw=round((servers * 0.6 + gpus * 0.5) * 0.8, 1),
        rack_units_free=int(rng.integers(0, 24)),
        cooling_kw=round(limit * float(rng.uniform(0.9, 1.2)), 1),
    )


def _night_bend(traits: Sequence[Trait], period: Period) -> float:
    """What nights come to over what their levels say, by a week each of some PoPs."""
    made, said, steps = 0.0, 0.0, SLOTS * 7
    some = traits[:: max(1, len(traits) // 150)]
    span = max(0, period.until_s - period.from_s - steps * STEP_S)
    for at, trait in enumerate(some):
        from_s = period.from_s + int(span * ((at * 0.618034) % 1.0)) // STEP_S * STEP_S
        clock = Clock(trait.place.timezone, from_s - DAY_S, from_s + steps * STEP_S + DAY_S)
        offsets = clock.offsets(from_s, steps)
        shares = np.zeros((6, steps), np.uint16)
        fill_trait(trait, period, (from_s, offsets), shares)
        local = (from_s + STEP_S * np.arange(steps) + offsets) % DAY_S
        night = (local >= 23 * 3600) | (local < 4 * 3600)
        made += float(shares[0][night].mean()) / WHOLE_BP
        grown = growth_of(trait, period, from_s, steps)[night]
        said += float(trait.values[LEVEL] * grown.mean())
    return made / said


def fill_trait(
    trait: Trait, period: Period, when: tuple[int, npt.NDArray[np.int32]], out: object
) -> None:
    """A PoP's shares from a moment on, by the offsets of its clock; for single stretches."""
    from_s, offsets = when
    fill(drive_of(trait, period, when, release_height(period.releases, from_s, len(offsets))), out)


def drive_of(
    trait: Trait,
    period: Period,
    when: tuple[int, npt.NDArray[np.int32]],
    release: npt.NDArray[np.float32],
) -> Drive:
    """What moves a PoP from a moment on, by the offsets of its clock."""
    from_s, offsets = when
    until_s = from_s + len(offsets) * STEP_S
    return Drive(
        key=np.uint64(trait.key),
        start=from_s // STEP_S,
        traits=trait.values,
        curve=trait.curve,
        days=day_table(trait.place, period, from_s, until_s),
        offsets=offsets,
        release=release,
        growth=growth_of(trait, period, from_s, len(offsets)),
        outage=outage_steps(trait, from_s, until_s),
    )


def outage_steps(trait: Trait, from_s: int, until_s: int) -> npt.NDArray[np.int64]:
    """The first outage that touches the period: its first step and the one after it."""
    for start, end in trait.outages:
        if start < until_s and end > from_s:
            return np.array([(start - from_s) // STEP_S, (end - from_s) // STEP_S])
    return np.zeros(2, np.int64)
