"""IPFIX flows as a collector exports them: scaled up where sampled, sorted into out and in.

Names are of IANA's information elements (RFC 5102 and its registry), with or without a prefix such
as `iana:`. Only the packets that were seen are in a flow: of one in N, its bytes count N times.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.ingest.logs_cells import Column
from selvedge.plan.ingest.logs_fields import Vendor
from selvedge.plan.ingest.reading import SourceFile

_PREFIXES: Final = ("", "iana:", "ipfix:")


def _named(*names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names for prefix in _PREFIXES)


def _when(end: str) -> tuple[str, ...]:
    units = ("Milliseconds", "Microseconds", "Nanoseconds", "Seconds")
    return _named(*(f"flow{end}{unit}" for unit in units))


IPFIX: Final = Vendor(
    "ipfix",
    {
        "pop": _named(
            *("pop", "exporterIPv4Address", "exporterIPv6Address"),
            *("exporter", "observationDomainName", "observationDomainId"),
        ),
        "at": _when("Start"),
        "until": _when("End"),
        "out_bytes": _named("octetDeltaCount"),
        "direction": _named("flowDirection"),
        "one_in": _named("samplingInterval"),
        "packets": _named("samplingPacketInterval"),
        "skipped": _named("samplingPacketSpace"),
        "probability": _named("samplingProbability"),
        "size": _named("samplingSize"),
        "population": _named("samplingPopulation"),
    },
    "export the exporter's address, or name another field in the mapping file as pop.column",
)
_EGRESS: Final = ("1", "egress", "out", "output")
_INGRESS: Final = ("0", "ingress", "in", "input")


def finish_flows(source: SourceFile, columns: dict[str, Column]) -> dict[str, Column]:
    """The cells of flows with their scale and direction."""
    found: dict[str, Column] = {}
    for role in ("pop", "at", "until", "out_bytes"):
        if role in columns:
            found[role] = columns[role]
    rows = len(columns["at"])
    scale = _scale(columns, rows)
    declared = source.mapping.sampling if source.mapping else 1
    scale[np.isnan(scale)] = declared
    found["scale"] = pa.array(scale)
    if "direction" in columns:
        text = pc.utf8_lower(_whole(columns["direction"]).cast(pa.string()))
        is_out = pc.fill_null(pc.is_in(text, pa.array(_EGRESS)), False)
        is_in = pc.fill_null(pc.is_in(text, pa.array(_INGRESS)), False)
        found["is_out"] = is_out.to_numpy(zero_copy_only=False)
        # A direction that is neither is not guessed: the line is bad.
        found["is_known"] = pc.or_(is_out, is_in).to_numpy(zero_copy_only=False)
    return found


def _scale(columns: dict[str, Column], rows: int) -> npt.NDArray[np.float64]:
    """Packets that each seen one stands for; nan where a flow does not say."""
    found = np.full(rows, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = [
            1 / _real(columns, "probability", rows),
            _real(columns, "population", rows) / _real(columns, "size", rows),
            1 + _real(columns, "skipped", rows) / _real(columns, "packets", rows),
            _real(columns, "one_in", rows),
        ]
    for way in ways:
        fits = np.isnan(found) & np.isfinite(way) & (way >= 1)
        found[fits] = way[fits]
    return found


def _real(columns: dict[str, Column], role: str, rows: int) -> npt.NDArray[np.float64]:
    if role not in columns:
        return np.full(rows, np.nan)
    column = _whole(columns[role])
    if pa.types.is_string(column.type):
        is_number = pc.match_substring_regex(column, r"^\d+(\.\d*)?([eE][+-]?\d+)?$")
        column = pc.if_else(is_number, column, None)
    found: npt.NDArray[np.float64] = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return found


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
