"""Round trips between all pairs of sites: by distance, and by the operator's own measurements.

The model is `fabric.WanModel`: the great circle times a path inflation at the speed of light in
fibre, plus a fixed part for equipment and the last mile. It is for planning. How wrong it may be is
said by its two ends: well-connected pairs show an inflation of 1.3 and poor ones of 2.5 (the
literature in `fabric.geography` has medians about 2), so that an answer's mean is given at both.
Measured pairs replace the model's; they may break the triangle's rule, which no method here needs.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from selvedge.fabric import WanModel
from selvedge.plan.history import BadPlan, PopSite
from selvedge.plan.placement.neighbours import Floats

INFLATION_BAND: Final = (1.3, 2.5)
_EARTH_RADIUS_KM: Final = 6371.0088
_TRIPLES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Measured:
    """What an operator's file of round trips did."""

    pairs: int
    unknown: int
    """Rows that name a PoP that the fleet has not, or one without a place."""
    ratio_median: float
    """Measured over modelled."""


def model_ms(sites: Sequence[PopSite], wan: WanModel) -> Floats:
    """By ingress and site, in ms. All sites must have a place."""
    km = distances_km(sites)
    return 2.0 * km * wan.path_inflation / wan.fibre_km_per_ms + wan.fixed_ms


def distances_km(sites: Sequence[PopSite]) -> Floats:
    """Great circles between all pairs, as `fabric.great_circle_km` has them."""
    latitude = np.radians([site.lat or 0.0 for site in sites])
    longitude = np.radians([site.lon or 0.0 for site in sites])
    square = np.sin((longitude[:, None] - longitude) / 2) ** 2
    square *= np.cos(latitude)[:, None] * np.cos(latitude)
    square += np.sin((latitude[:, None] - latitude) / 2) ** 2
    return np.asarray(2 * _EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(square, 1.0))))


def override(trips: Floats, sites: Sequence[PopSite], path: Path) -> Measured:
    """Put measured pairs in place of the model's: CSV with from, to, rtt_ms.

    A pair is taken both ways, unless the other way is measured too. Raises `BadPlan` with the line.
    """
    number = {site.pop: at for at, site in enumerate(sites)}
    found: dict[tuple[int, int], float] = {}
    unknown = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for name in ("from", "to", "rtt_ms"):
                if name not in (reader.fieldnames or []):
                    raise BadPlan(f"{path}: column {name!r} is missing; add it.")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                rtt_ms = _number(where, row["rtt_ms"])
                pair = number.get(row["from"], -1), number.get(row["to"], -1)
                if min(pair) < 0:
                    unknown += 1
                elif found.setdefault(pair, rtt_ms) != rtt_ms:
                    both = f"from {row['from']} to {row['to']} there are {found[pair]:g} ms"
                    raise BadPlan(f"{where}: {both} already, and now {rtt_ms:g}; keep one row.")
    except OSError as error:
        raise BadPlan(f"{path} cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadPlan(f"{path} is not CSV in UTF-8: {error}; save it as such.") from error
    ratios = [rtt_ms / trips[pair] for pair, rtt_ms in found.items() if trips[pair] > 0]
    for (a, b), rtt_ms in found.items():
        trips[a, b] = rtt_ms
        if (b, a) not in found:
            trips[b, a] = rtt_ms
    return Measured(len(found), unknown, float(np.median(ratios)) if ratios else 1.0)


def _number(where: str, text: str | None) -> float:
    try:
        rtt_ms = float(text or "")
    except ValueError:
        rtt_ms = math.nan
    if not 0 < rtt_ms < 60_000:
        words = f"rtt_ms {text!r} is no number of milliseconds above 0 and under 60,000"
        raise BadPlan(f"{where}: {words}; mend it.")
    return rtt_ms


def broken_triangles(trips: Floats, seed: int = 1) -> float:
    """The share of drawn triples of which one way is longer than the detour over the third.

    0 says that costs are a metric, as far as was looked.
    """
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(0, len(trips), (3, _TRIPLES))
    return float(np.mean(trips[a, b] > (trips[a, c] + trips[c, b]) * (1 + 1e-9)))
