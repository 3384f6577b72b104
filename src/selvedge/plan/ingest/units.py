"""Units, spelled out: 8 bits a byte, k is 10^3, Ki is 2^10. What could mean two things is refused.

`MB` is 1,000,000 bytes and `MiB` 1,048,576. `Mb`, `mbps` and `KB` are written by some for the one
and by some for the other; the error names both.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from selvedge.plan.history import SHARES, WHOLE_BP, BadPlan
from selvedge.plan.ingest.measures import BYTES, Kind

Dimension = Literal["amount", "rate", "share", "power", "time"]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one of it is: bytes, bytes a second, basis points, watts or milliseconds."""

    name: str
    dimension: Dimension
    factor: Fraction


def _units() -> dict[str, Unit]:
    prefixes = {"": 1, "M": 10**6, "G": 10**9, "T": 10**12}
    prefixes |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    found = {}
    for word, size in (("bit", Fraction(1, 8)), ("byte", Fraction(1)), ("B", Fraction(1))):
        for prefix, factor in (prefixes | {"k": 1000}).items():
            if not (word == "B" and not prefix):
                name = prefix + word
                found[name] = Unit(name, "amount", size * factor)
                found[name + "/s"] = Unit(name + "/s", "rate", size * factor)
    for name, one in (("percent", WHOLE_BP // 100), ("share", WHOLE_BP), ("bp", 1)):
        found[name] = Unit(name, "share", Fraction(one))
    for name, one in (("W", 1), ("kW", 1000)):
        found[name] = Unit(name, "power", Fraction(one))
    for name, one in (("ms", 1), ("s", 1000)):
        found[name] = Unit(name, "time", Fraction(one))
    return found


UNITS: Final = _units()
"""By name."""
_EXAMPLES: Final[dict[Dimension, str]] = {
    "amount": "byte, kB (1000), KiB (1024), MB, MiB, bit, Mbit",
    "rate": "bit/s, kbit/s (1000), Mbit/s, Gbit/s, byte/s, MB/s, MiB/s",
    "share": "percent, share (of 1), bp",
    "power": "W, kW",
    "time": "s, ms",
}


_KINDS: Final[dict[str, tuple[Kind, ...]]] = {
    **dict.fromkeys(BYTES, (Kind.INTERVAL, Kind.COUNTER, Kind.GAUGE, Kind.AMOUNT)),
    "capacity_bps": (Kind.INTERVAL, Kind.COUNTER, Kind.GAUGE),
    **dict.fromkeys(SHARES, (Kind.INTERVAL, Kind.GAUGE)),
    "cpu_idle_ms": (Kind.COUNTER,),
    **dict.fromkeys(
        ("memory_free_bytes", "memory_total_bytes", "power_w", "gpu_power_w"), (Kind.GAUGE,)
    ),
}
"""In which kinds a measure says something."""


def accepted(measure: str, kind: Kind) -> tuple[Dimension, ...]:
    """Dimensions in which a measure may be given."""
    if measure in BYTES:
        taken: dict[Kind, tuple[Dimension, ...]] = {
            Kind.GAUGE: ("rate",),
            Kind.INTERVAL: ("rate", "amount"),
        }
        return taken.get(kind, ("amount",))
    if measure in SHARES:
        return ("share",)
    plain: dict[str, Dimension] = {"capacity_bps": "rate", "cpu_idle_ms": "time"}
    return (plain.get(measure, "power" if measure.endswith("_w") else "amount"),)


def unit_of(where: str, measure: str, name: str, kind: Kind) -> Unit:
    """The unit of a measure. Raises `BadPlan` where it is missing, unknown or of another sort."""
    kinds = _KINDS.get(measure, ())
    if kind not in kinds:
        words = f"it is of kind {' or '.join(kinds)}: give kind in the mapping file"
        raise BadPlan(f"{where}: {measure} is never of kind {kind}; {words}.")
    wanted = accepted(measure, kind)
    words = "; ".join(_EXAMPLES[one] for one in wanted)
    if not name:
        raise BadPlan(f"{where}: {measure} has no unit, and none is assumed; write one of {words}.")
    found = UNITS.get(name)
    if found is None:
        raise BadPlan(f"{where}: unit {name!r} of {measure} is unknown or unclear; one of {words}.")
    if found.dimension not in wanted:
        raise BadPlan(f"{where}: {measure} as {kind} cannot be in {name!r}; one of {words}.")
    return found


def factor_of(measure: str, unit: Unit, kind: Kind, step_s: int) -> Fraction:
    """What a number in this unit is multiplied by, to be the measure of a batch."""
    if measure == "capacity_bps":
        return unit.factor * 8
    if unit.dimension == "rate" and kind is Kind.INTERVAL:
        return unit.factor * step_s
    return unit.factor
