"""What a utilisation report says that money depends on, read from its Parquet.

Of the report's table `pops` only the columns that decide are read; one that is missing or empty is
said, and the question that needs it goes by the file's assumption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import BadPlan

_NEEDED: Final = ("pop", "country", "mean_bps", "night_use")
_WANTED: Final = ("headroom_95", "headroom_gpu_95", "gpus")


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """PoPs, the busiest first. Shares are of capacity; NaN: not known."""

    pops: tuple[str, ...]
    countries: tuple[str, ...]
    weights: npt.NDArray[np.float64]
    """Of all traffic, each PoP's."""
    night_use: float | None
    """Mean over PoPs that have it."""
    night_known: int
    headroom_95: npt.NDArray[np.float64]
    gpus: int
    """Of all PoPs."""
    gpus_free_95: float | None
    """Share of them that was free in 95 of 100 intervals, where that is known."""
    notes: tuple[str, ...] = ()

    def covered(self, sites: int) -> float:
        """Of all traffic, what enters at the so many busiest."""
        return float(self.weights[:sites].sum())


def read_observed(folder: Path) -> Observed:
    """The table `pops` of a report. Raises `BadPlan`."""
    path = folder / "pops.parquet" if folder.is_dir() else folder
    words = "write one by `selvedge plan utilisation DATA --parquet FOLDER`"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0].rstrip(".")
        reason = reason if path.exists() else "no such file"
        raise BadPlan(f"--utilisation: {path} cannot be read: {reason}; {words}.") from error
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        names = ", ".join(missing)
        raise BadPlan(f"--utilisation: {path} has no column {names}; {words}.")
    rows = [row for row in table.to_pylist() if row["pop"] and _is_sound(row["mean_bps"])]
    if not any(row["mean_bps"] for row in rows):
        raise BadPlan(f"--utilisation: {path} has no PoP with traffic; {words}.")
    if len({row["pop"] for row in rows}) < len(rows):
        raise BadPlan(f"--utilisation: {path} has a PoP twice; {words}.")
    rows.sort(key=lambda row: (-row["mean_bps"], row["pop"]))
    return _observed(rows, table)


def _observed(rows: list[dict[str, Any]], table: pa.Table) -> Observed:  # Any: cells of a table
    weights = np.array([row["mean_bps"] for row in rows], dtype=np.float64)
    nights = [row["night_use"] for row in rows if _is_sound(row["night_use"])]
    notes = []
    left_out = table.num_rows - len(rows)
    if left_out:
        notes.append(f"{left_out} PoPs of the report have no traffic or no name; they are left out")
    absent = [name for name in _WANTED if name not in table.column_names]
    if absent:
        notes.append(f"the report has no column {', '.join(absent)}")
    free = [row.get("headroom_95") for row in rows]
    gpus, gpus_free = _gpus(rows)
    if gpus_free is not None:
        notes.append(
            f"of {gpus:,} GPUs of the report {gpus_free:.0%} were free in 95 of 100 intervals"
        )
    return Observed(
        pops=tuple(str(row["pop"]) for row in rows),
        countries=tuple(str(row["country"] or "") for row in rows),
        weights=weights / weights.sum(),
        night_use=float(np.mean(nights)) if nights else None,
        night_known=len(nights),
        headroom_95=np.array([one if _is_sound(one) else np.nan for one in free], np.float64),
        gpus=gpus,
        gpus_free_95=gpus_free,
        notes=tuple(notes),
    )


def _gpus(rows: list[dict[str, Any]]) -> tuple[int, float | None]:  # Any: cells of a table
    """How many there are, and what share of those that were measured was free."""
    cells = [(row.get("gpus"), row.get("headroom_gpu_95")) for row in rows]
    counted = [(int(count or 0) if _is_sound(count) else 0, free) for count, free in cells]
    known = [(count, free) for count, free in counted if count and _is_sound(free)]
    measured = sum(count for count, _ in known)
    free_gpus = sum(count * float(free) for count, free in known if free is not None)
    return sum(count for count, _ in counted), free_gpus / measured if measured else None


def _is_sound(cell: object) -> bool:
    return isinstance(cell, float | int) and bool(np.isfinite(cell)) and cell >= 0
