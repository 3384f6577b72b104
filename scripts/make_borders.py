"""Make the report's map out of Natural Earth's countries, 1:50 million.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python scripts/make_borders.py package/countries-50m.json shared/data/iso3166/countries.csv \\
        > src/selvedge/plan/pages/borders.json

Natural Earth is in the public domain; `world-atlas` (ISC) carries it as TopoJSON. Lines that two
countries share are simplified once (Douglas and Peucker 1973, 0.06 degrees), so that borders still
meet. Coordinates are hundredths of a degree, longitude first, each ring one flat list.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

TOLERANCE = 0.06
SMALLEST = 0.02
"""Square degrees: rings below are left out, but a country's largest."""

Point = tuple[float, float]


def read_arcs(atlas: dict[str, Any]) -> list[list[Point]]:
    """Lines in degrees: they are stored as steps on a grid."""
    (scale_x, scale_y), (left, bottom) = (
        atlas["transform"]["scale"],
        atlas["transform"]["translate"],
    )
    arcs = []
    for steps in atlas["arcs"]:
        x = y = 0
        line = []
        for step_x, step_y in steps:
            x, y = x + step_x, y + step_y
            line.append((x * scale_x + left, y * scale_y + bottom))
        arcs.append(line)
    return arcs


def simplified(line: list[Point]) -> list[Point]:
    """Douglas and Peucker: no point that is left out lies farther off than the tolerance."""
    keep = {0, len(line) - 1}
    spans = [(0, len(line) - 1)]
    while spans:
        first, last = spans.pop()
        farthest, at = 0.0, 0
        for number in range(first + 1, last):
            distance = distance_of(line[number], line[first], line[last])
            if distance > farthest:
                farthest, at = distance, number
        if farthest > TOLERANCE:
            keep.add(at)
            spans += [(first, at), (at, last)]
    return [line[number] for number in sorted(keep)]


def distance_of(point: Point, start: Point, end: Point) -> float:
    """From a point to the segment between two others, in degrees."""
    (x, y), (x0, y0), (x1, y1) = point, start, end
    dx, dy = x1 - x0, y1 - y0
    length = dx * dx + dy * dy
    part = ((x - x0) * dx + (y - y0) * dy) / length if length else 0.0
    part = min(1.0, max(0.0, part))
    return float(((x - x0 - part * dx) ** 2 + (y - y0 - part * dy) ** 2) ** 0.5)


def ring_of(numbers: list[int], arcs: list[list[Point]]) -> list[Point]:
    """A closed line out of shared ones; a negative number is one that runs backwards."""
    ring: list[Point] = []
    for number in numbers:
        line = arcs[number] if number >= 0 else arcs[~number][::-1]
        ring += line[1:] if ring else line
    return ring


def area_of(ring: list[Point]) -> float:
    """In square degrees, whichever way it runs."""
    pairs = zip(ring, ring[1:] + ring[:1], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2


def rings_of(shape: dict[str, Any], arcs: list[list[Point]]) -> list[list[int]]:
    """The outer and inner lines of a country, largest first."""
    polygons = [shape["arcs"]] if shape["type"] == "Polygon" else shape["arcs"]
    rings = [ring_of(numbers, arcs) for polygon in polygons for numbers in polygon]
    rings.sort(key=area_of, reverse=True)
    kept = [ring for at, ring in enumerate(rings) if at == 0 or area_of(ring) >= SMALLEST]
    return [[round(100 * value) for point in ring for value in point] for ring in kept]


def read_codes(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Codes by the list's names, and by those of the atlas too."""
    pairs = " ".join(OTHERWISE.split()).split("; ")
    with path.open(encoding="utf-8", newline="") as file:
        named = {row["name"]: row["alpha2"] for row in csv.DictReader(file)}
    return named, named | dict(pair.split("=") for pair in pairs)


def main() -> None:
    """Print the borders."""
    atlas = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    listed, codes = read_codes(Path(sys.argv[2]))
    arcs = [simplified(line) for line in read_arcs(atlas)]
    countries: dict[str, list[list[int]]] = {}
    names = {code: name for name, code in listed.items()}
    for shape in atlas["objects"]["countries"]["geometries"]:
        name = shape["properties"]["name"]
        code = codes.get(name, "")
        if name != "Antarctica" and shape["type"] in ("Polygon", "MultiPolygon"):
            countries.setdefault(code, []).extend(rings_of(shape, arcs))
        if not code:
            print(f"without a code: {name}", file=sys.stderr)
    made = {"source": "Natural Earth 1:50m, public domain, through world-atlas 2.0.2 (ISC)"}
    whole = {**made, "names": names, "countries": countries}
    print(json.dumps(whole, separators=(",", ":"), sort_keys=True))


OTHERWISE = """
Vatican=VA; Marshall Is.=MH; N. Mariana Is.=MP; U.S. Virgin Is.=VI; American Samoa=AS; United
States of America=US; S. Geo. and the Is.=GS; Br. Indian Ocean Ter.=IO; Saint Helena=SH;
Pitcairn Is.=PN; Falkland Is.=FK; Cayman Is.=KY; British Virgin Is.=VG; Turks and Caicos Is.=TC;
United Kingdom=GB; Trinidad and Tobago=TT; Timor-Leste=TL; eSwatini=SZ; S. Sudan=SS; South
Korea=KR; Solomon Is.=SB; São Tomé and Principe=ST; Samoa=WS; St. Vin. and Gren.=VC; Saint
Lucia=LC; St. Kitts and Nevis=KN; North Korea=KP; Cook Is.=CK; W. Sahara=EH; Macedonia=MK; St.
Pierre and Miquelon=PM; Wallis and Futuna Is.=WF; St-Martin=MF; St-Barthélemy=BL; Fr.
Polynesia=PF; Fr. S. Antarctic Lands=TF; Åland=AX; Eq. Guinea=GQ; Dominican Rep.=DO; Faeroe
Is.=FO; Czechia=CZ; Dem. Rep. Congo=CD; Congo=CG; Macao=MO; Cabo Verde=CV; Myanmar=MM; Bosnia
and Herz.=BA; Heard I. and McDonald Is.=HM; Antigua and Barb.=AG; Sint Maarten=SX
"""
"""Names that the atlas writes otherwise than the list; land under dispute has no code."""

if __name__ == "__main__":
    main()
