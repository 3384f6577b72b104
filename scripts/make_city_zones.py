"""Make the time zones of the city list: `src/selvedge/plan/synth/zones.csv`.

    .venv/bin/python scripts/make_city_zones.py GEONAMES.csv

GEONAMES.csv has the columns lat, lon, country and timezone of GeoNames cities15000 (CC BY 4.0). A
country gets the zone that most of its cities are in; a city of another zone gets a row of its own.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path

from selvedge.sim import Site, read_cities

TARGET = Path(__file__).parent.parent / "src/selvedge/plan/synth/zones.csv"
KNOWN = {"reykjavik.is": "Atlantic/Reykjavik", "luxembourg.lu": "Europe/Luxembourg"}
"""Cities of our list that are smaller than the 4,100 of GeoNames."""
HEAD = """\
# IANA time zones of the simulator's city list, made by scripts/make_city_zones.py out of GeoNames
# cities15000 (https://www.geonames.org), licensed CC BY 4.0
# (https://creativecommons.org/licenses/by/4.0/). Changed: a row for each country with the zone of
# most of its cities, then a row for each city whose zone is another.
place,timezone
"""


def main() -> None:
    """Match by country and rounded place, write."""
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    zones = {}
    text = files("selvedge.sim").joinpath("scenarios/cities.csv").read_text("utf-8")
    cities = read_cities(text)
    for name, site in cities:
        zones[name] = KNOWN.get(name) or _zone(rows, site)
    by_country: dict[str, Counter[str]] = defaultdict(Counter)
    for name, site in cities:
        by_country[site.country][zones[name]] += 1
    usual = {country: min(c, key=lambda z: (-c[z], z)) for country, c in by_country.items()}
    lines = [f"{country},{zone}" for country, zone in sorted(usual.items())]
    lines += [
        f"{name},{zones[name]}" for name, site in cities if zones[name] != usual[site.country]
    ]
    TARGET.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def _zone(rows: list[dict[str, str]], site: Site) -> str:
    def off(row: dict[str, str]) -> float:
        return abs(float(row["lat"]) - site.latitude) + abs(float(row["lon"]) - site.longitude)

    best = min((row for row in rows if row["country"] == site.country), key=off)
    assert off(best) < 0.02, site
    return best["timezone"]


if __name__ == "__main__":
    main()
