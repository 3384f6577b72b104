"""The fleet file of a plan: where each PoP is, and what it has room for.

CSV with a header; columns in any order, unknown ones are refused by name. Only `pop` and `country`
must be there; what is empty is unknown, and questions that need it leave the PoP out and say so.
"""

from __future__ import annotations

import csv
import math
import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from selvedge.fabric import COUNTRIES, GROUPS, SelvedgeError
from selvedge.plan.history.findings import Finding

_REQUIRED: Final = ("pop", "country")


class BadPlan(SelvedgeError):
    """An input of a plan that cannot be used; the text names file, line, field and remedy."""


class PopSite(msgspec.Struct, frozen=True, kw_only=True):
    """A PoP, for planning. Numbers of what is installed, unless it says free or limit."""

    pop: str
    country: str
    """ISO 3166-1 alpha-2."""
    metro: str = ""
    jurisdiction: str = ""
    """Whose law its capacity is under; empty: `eea` for members, else the country."""
    timezone: str = ""
    """IANA name."""
    lat: float | None = None
    lon: float | None = None
    """Degrees, north and east positive."""
    population: int | None = None
    """People whom it is the place of: demand by population."""
    nic_bps: int | None = None
    """Bits per second of all interfaces, one way."""
    cpu_cores: int | None = None
    memory_gb: float | None = None
    gpu: str = ""
    """Type of its GPUs, as `selvedge plan fit` names them."""
    gpus: int = 0
    power_limit_kw: float | None = None
    """What may be drawn at the site."""
    power_kw: float | None = None
    """What is drawn now, at peak."""
    rack_units_free: int | None = None
    cooling_kw: float | None = None
    """Heat that can be taken away, all in all."""

    @property
    def law(self) -> str:
        """The jurisdiction, by its own column or by the country."""
        return self.jurisdiction or jurisdiction_of(self.country)


def jurisdiction_of(country: str) -> str:
    """Where capacity of a country may be used: `eea` for a member, else the country itself."""
    return "eea" if country in GROUPS["EEA"] else country.lower()


def read_sites(path: Path) -> tuple[list[PopSite], list[Finding]]:
    """The PoPs in the order of the file, and what is wrong with rows that stay usable.

    A time zone that IANA does not know is a finding, and the PoP has none. Raises `BadPlan` for
    what cannot be read, a PoP twice, an unknown country or column, and numbers out of range.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(path, csv.DictReader(file))
    except OSError as error:
        raise BadPlan(f"{path} cannot be read ({error.strerror}); name a fleet file.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadPlan(f"{path} is not CSV in UTF-8: {error}; save it as such.") from error


def _read(path: Path, rows: csv.DictReader[str]) -> tuple[list[PopSite], list[Finding]]:
    known = set(PopSite.__struct_fields__)
    columns = rows.fieldnames or []
    for name in columns:
        if name not in known:
            words = ", ".join(PopSite.__struct_fields__)
            raise BadPlan(f"{path}: column {name!r} is unknown; the columns are {words}.")
        if columns.count(name) > 1:
            raise BadPlan(f"{path}: column {name!r} is there twice; keep one.")
    for name in _REQUIRED:
        if name not in columns:
            raise BadPlan(f"{path}: column {name!r} is missing; add it.")
    zones = zoneinfo.available_timezones()
    sites: dict[str, PopSite] = {}
    findings = []
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        site = _site(where, row)
        if site.pop in sites:
            raise BadPlan(f"{where}: PoP {site.pop!r} is there twice; keep one row.")
        if site.timezone not in zones:
            words = f"{site.timezone!r} is no IANA time zone; it has no local hours"
            findings.append(
                Finding(kind="unknown_time_zone", pop=site.pop, source=where, detail=words)
            )
            site = msgspec.structs.replace(site, timezone="")
        sites[site.pop] = site
    if not sites:
        raise BadPlan(f"{path} names no PoP; it needs a header and a row for each.")
    return list(sites.values()), findings


def _site(where: str, row: dict[str, str]) -> PopSite:
    if None in row or None in row.values():
        raise BadPlan(f"{where}: it has not as many fields as the header; mend the row.")
    given = {name: text.strip() for name, text in row.items() if text.strip()}
    for name in _REQUIRED:
        if name not in given:
            raise BadPlan(f"{where}: {name!r} is empty; fill it in.")
    try:
        site = msgspec.convert(given, PopSite, strict=False)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("$.")[2].rstrip("`")
        kind = "whole number" if "`int" in str(error) else "number"
        words = (
            f"{field} {str(given.get(field))[:40]!r} is no {kind}; correct it, or leave it empty"
        )
        raise BadPlan(f"{where}: {words}.") from error
    if site.country not in COUNTRIES:
        words = f"country {site.country!r} is no ISO 3166-1 alpha-2 code; write it as DE or SG"
        raise BadPlan(f"{where}: {words}.")
    _check_ranges(where, site)
    return site


def _check_ranges(where: str, site: PopSite) -> None:
    if (site.lat is None) != (site.lon is None):
        raise BadPlan(f"{where}: lat and lon go together; give both or neither.")
    for name, limit in (("lat", 90.0), ("lon", 180.0)):
        value = getattr(site, name)
        if value is not None and not -limit <= value <= limit:
            raise BadPlan(f"{where}: {name} {value} is outside -{limit:.0f} to {limit:.0f}.")
    for name in PopSite.__struct_fields__:
        value = getattr(site, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise BadPlan(f"{where}: {name} {value} is no number; leave it empty if unknown.")
        if name not in ("lat", "lon") and isinstance(value, int | float) and not value >= 0:
            raise BadPlan(f"{where}: {name} {value} is below 0; give 0 or more.")


def write_sites(path: Path, sites: Iterable[PopSite]) -> None:
    """A fleet file that `read_sites` reads back. Raises `OSError`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PopSite.__struct_fields__)
        writer.writerows(_cells(sites))


def _cells(sites: Iterable[PopSite]) -> Iterator[Sequence[object]]:
    for site in sites:
        row = msgspec.structs.astuple(site)
        yield ["" if value is None else value for value in row]
