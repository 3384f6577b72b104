"""Who asks, how much, and where it may be served: a row for each ingress and zone."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from selvedge.fabric import COUNTRIES, GROUPS
from selvedge.plan.demand_zones import WORLD
from selvedge.plan.history import BadPlan, PopSite
from selvedge.plan.placement.neighbours import Flags, Floats

_DAY_S: Final = 86_400.0
_COLUMNS: Final = ("ingress", "zone", "requests_per_s")


@dataclass(frozen=True, slots=True)
class Demand:
    """Rows of demand at the peak hour."""

    ingress: npt.NDArray[np.int64]
    """By row: number of the site at which requests come in."""
    zones: tuple[str, ...]
    """By row: where they may be served; `world` for anywhere."""
    requests_per_s: Floats

    @property
    def total(self) -> float:
        """All of it."""
        return float(self.requests_per_s.sum())


def demand_by_population(
    sites: Sequence[PopSite],
    *,
    adoption: float,
    requests_per_day: float,
    resident: Sequence[tuple[str, float]] = (),
    peak: float = 2.0,
) -> Demand:
    """People times the share that asks, times how often; `peak` is the peak hour over the mean.

    `resident` names zones with the share of their demand that must stay inside. A site that lies in
    several has the share of each, the first first. Raises `BadPlan`.
    """
    rates = [(site.population or 0) * adoption * requests_per_day * peak / _DAY_S for site in sites]
    if not sum(rates) > 0:
        raise BadPlan(
            "no site has a population, or adoption is 0: nobody asks. Fill the fleet file's column"
            " population, or give observed requests (--demand), as from `selvedge plan demand`."
        )
    names = [zone for zone, _ in resident]
    for zone in names:
        if names.count(zone) > 1:
            raise BadPlan(f"--resident {zone} is there {names.count(zone)} times; say it once.")
    masks = [(zone, share, zone_flags(zone, sites)) for zone, share in resident]
    rows: list[tuple[int, str, float]] = []
    for number, rate in enumerate(rates):
        left = 1.0
        for zone, share, mask in masks:
            if mask[number]:
                part = min(share, left)
                left -= part
                rows.append((number, zone, rate * part))
        rows.append((number, WORLD, rate * left))
    return _demand(row for row in rows if row[2] > 0)


def read_demand(path: Path, sites: Sequence[PopSite]) -> tuple[Demand, float]:
    """Observed requests: CSV with ingress, requests_per_s and, where known, zone.

    The demand, and the requests per second of ingresses that the fleet does not name. Raises
    `BadPlan` with the line.
    """
    number = {site.pop: at for at, site in enumerate(sites)}
    rows: dict[tuple[int, str], float] = {}
    unknown = 0.0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for name in ("ingress", "requests_per_s"):
                if name not in (reader.fieldnames or []):
                    raise BadPlan(f"{path}: column {name!r} is missing; add it.")
            # A misspelt zone would be the world, and its residency nobody's.
            for name in reader.fieldnames or []:
                if name not in _COLUMNS:
                    known = ", ".join(_COLUMNS)
                    raise BadPlan(f"{path}: column {name!r} is not one of {known}; leave it out.")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                rate = _rate(where, row["requests_per_s"])
                zone = (row.get("zone") or WORLD).strip()
                zone_flags(zone, sites, where)
                at = number.get(row["ingress"])
                if at is None:
                    unknown += rate
                elif rate > 0:
                    rows[at, zone] = rows.get((at, zone), 0.0) + rate
    except OSError as error:
        raise BadPlan(f"{path} cannot be read ({error.strerror}); name a demand file.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadPlan(f"{path} is not CSV in UTF-8: {error}; save it as such.") from error
    if not rows:
        raise BadPlan(f"{path} has no demand at a PoP of the fleet; check column 'ingress'.")
    return _demand((at, zone, rate) for (at, zone), rate in sorted(rows.items())), unknown


def _rate(where: str, text: str | None) -> float:
    try:
        rate = float(text or "")
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise BadPlan(f"{where}: requests_per_s {text!r} is no number from 0; mend it.")
    return rate


def _demand(rows: Iterable[tuple[int, str, float]]) -> Demand:
    found = list(rows)
    return Demand(
        np.array([row[0] for row in found], np.int64),
        tuple(row[1] for row in found),
        np.array([row[2] for row in found]),
    )


def zone_flags(zone: str, sites: Sequence[PopSite], where: str = "a zone") -> Flags:
    """By site: whether it lies in a zone.

    A zone is `world`, a group (`EEA`, `ASEAN`), a jurisdiction of the fleet (`eea`), or countries
    joined by `+` (`DE+AT`). Raises `BadPlan`.
    """
    if zone == WORLD:
        return np.ones(len(sites), np.bool_)
    laws = np.array([site.law == zone for site in sites])
    if laws.any():
        return laws
    countries: set[str] = set()
    for part in zone.split("+"):
        if part.upper() in GROUPS:
            countries |= GROUPS[part.upper()]
        elif part in COUNTRIES:
            countries.add(part)
        else:
            known = ", ".join(sorted(GROUPS))
            words = f"{part!r} is no country code, no jurisdiction of the fleet and none of {known}"
            raise BadPlan(f"{where}: {words}.")
    return np.array([site.country in countries for site in sites])
