"""What a utilisation report is made of: a few facts and named tables, and nothing else.

JSON, Parquet, pages, forecasts and margins are all made from these. `level` is one of `LEVELS` and
`name` the id there: a PoP, a metro, a country, a jurisdiction, or `fleet`. A use is a share of
capacity, 0 to 1; `bps` are bits per second. A null is "not known".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.plan.history import RESOURCES, BadPlan, write_parquet

Level = Literal["pop", "metro", "country", "jurisdiction", "fleet"]
LEVELS: Final[tuple[Level, ...]] = ("pop", "metro", "country", "jurisdiction", "fleet")
FLEET: Final = "fleet"
"""The name of the one group at level `fleet`."""
HOURS_OF_WEEK: Final = 168
_FACTS: Final = "report.json"
_INTERNAL: Final = ("hourly",)
"""Tables that are kept for what is computed later; too long for JSON."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_TEXT: Final = pa.string()
_COUNT: Final = pa.int64()
_REAL: Final = pa.float64()
_AT: Final = pa.int64()
_GROUP: Final = {"level": _TEXT, "name": _TEXT}
_SEEN: Final = {"samples": _COUNT, "expected": _COUNT}
_BPS: Final = dict.fromkeys(("mean_bps", "p50_bps", "p95_bps", "peak_bps"), _REAL)
_USE: Final = dict.fromkeys(("mean_use", "p50_use", "p95_use", "peak_use"), _REAL)
_FREE: Final = {f"headroom_{name}_{part}": _REAL for name in RESOURCES for part in (95, 99)}

TABLES: Final[dict[str, pa.Schema]] = {
    "pops": _schema(
        **dict.fromkeys(("pop", "metro", "country", "jurisdiction", "timezone"), _TEXT),
        lat=_REAL,
        lon=_REAL,
        population=_COUNT,
        **_SEEN,
        **_BPS,
        capacity_bps=_REAL,
        **_USE,
        night_use=_REAL,
        night_samples=_COUNT,
        best_start=pa.int32(),
        best_use=_REAL,
        surge_reserve=_REAL,
        reserve_largest=_REAL,
        reserve_usual=_REAL,
        away_below=_REAL,
        returns=_COUNT,
        headroom_95=_REAL,
        headroom_99=_REAL,
        **dict.fromkeys(("headroom_95_largest", "headroom_99_largest"), _REAL),
        **dict.fromkeys(("headroom_95_usual", "headroom_99_usual"), _REAL),
        binding_95=_TEXT,
        binding_99=_TEXT,
        **_FREE,
        gpus=_COUNT,
        gpu=_TEXT,
    ),
    "reserves": _schema(
        **dict.fromkeys(("pop", "choice"), _TEXT),
        in_force=pa.bool_(),
        reserve=_REAL,
        **dict.fromkeys(("headroom_95", "headroom_99"), _REAL),
        **dict.fromkeys(("binding_95", "binding_99"), _TEXT),
        **dict.fromkeys(("over_95", "over_99"), _REAL),
        steps=_COUNT,
        exceeded=_REAL,
        excess=_REAL,
    ),
    "reserve_choices": _schema(
        **_GROUP,
        choice=_TEXT,
        in_force=pa.bool_(),
        pops=_COUNT,
        **{f"p{part}_reserve": _REAL for part in (10, 50, 90)},
        **{f"p{part}_headroom_95": _REAL for part in (10, 50, 90)},
        **{f"p{part}_headroom_99": _REAL for part in (10, 50, 90)},
        **dict.fromkeys(("none_95", "none_99"), _COUNT),
        **dict.fromkeys(("over_95", "over_99"), _REAL),
        exceeded=_REAL,
        excess=_REAL,
    ),
    "groups": _schema(
        **_GROUP,
        pops=_COUNT,
        **_SEEN,
        **_BPS,
        capacity_bps=_REAL,
        **_USE,
        night_use=_REAL,
    ),
    "months": _schema(**_GROUP, month=_TEXT, **_SEEN, **_BPS, mean_use=_REAL),
    "hours_of_week": _schema(
        **_GROUP, hour=pa.int32(), mean_use=_REAL, p95_use=_REAL, samples=_COUNT
    ),
    "utc_hours": _schema(
        **_GROUP,
        hour_utc=pa.int32(),
        free_bps_95=_REAL,
        free_share_95=_REAL,
        gpus_free_95=_REAL,
    ),
    "together": _schema(
        **_GROUP,
        own_sum_bps_95=_REAL,
        simultaneous_bps_95=_REAL,
        share=_REAL,
        simultaneous_bps_95_largest=_REAL,
        simultaneous_bps_95_usual=_REAL,
    ),
    "hourly": _schema(**_GROUP, hour_s=_AT, mean_use=_REAL, mean_bps=_REAL, samples=_COUNT),
    "seasonality": _schema(
        **_GROUP, trend_per_year=_REAL, daily_strength=_REAL, weekly_strength=_REAL
    ),
    "forecasts": _schema(
        **_GROUP,
        horizon=_TEXT,
        from_s=_AT,
        until_s=_AT,
        p05_use=_REAL,
        p50_use=_REAL,
        p95_use=_REAL,
        p05_bps=_REAL,
        p50_bps=_REAL,
        p95_bps=_REAL,
        mean_bps=_REAL,
    ),
    "backtests": _schema(
        **_GROUP,
        horizon=_TEXT,
        model=_TEXT,
        mae=_REAL,
        naive_mae=_REAL,
        mase=_REAL,
        coverage_90=_REAL,
        skill=_REAL,
    ),
    "findings": _schema(
        **dict.fromkeys(("kind", "pop", "series"), _TEXT),
        **dict.fromkeys(("from_s", "until_s", "count"), _COUNT),
        **dict.fromkeys(("source", "detail"), _TEXT),
    ),
    "finding_counts": _schema(kind=_TEXT, pops=_COUNT, findings=_COUNT, count=_COUNT),
    "distribution": _schema(**_GROUP, use_percent=pa.int32(), samples=_COUNT),
}
"""The columns of every table.

- `pops`, `groups`: over the whole period; quantiles of a group are of the sum of its traffic in
  each interval, never means of its PoPs' quantiles
- `pops`: `surge_reserve` is the reserve in force, and `headroom_*` is after it; `..._largest` and
  `..._usual` are by the largest and the usual rise. Below `away_below` a PoP is away, not idle;
  `returns` are its rises from there, which make no reserve
- `reserves`, `reserve_choices`: of PoPs, and of jurisdictions and the fleet (levels
  `jurisdiction`, `fleet`), a row for each choice of the reserve. `over_95`: the share of measured
  intervals in which content would have wanted more than a constant offer of `headroom_95` leaves;
  of a group, of its PoPs that interfaces or processors bind. `exceeded`: the share of steps in
  which content rose by more than the reserve; `excess`: by how much more of capacity, the mean of
  those. `p10`, `p50`, `p90` are over PoPs, and `none_95`
  counts those with nothing free
- `months`: `p95_bps` is what is billed: of n samples, floor(n/20) of the largest dropped
- `hours_of_week`: 0 is Monday 00:00 to 01:00 local time; null p95 above the level `pop`
- `utc_hours`, `together`: of levels `jurisdiction` and `fleet`; what was free at one moment
- `hourly`: of levels above `pop`; a PoP's own hours are in the roll-up beside the report
- `distribution`: samples of PoPs by their use in whole percent, 100 for 100 and more
"""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The title of a report. Times are seconds UTC, `until_s` not included."""

    from_s: int
    until_s: int
    pops: int
    """PoPs that the history has samples of."""
    samples: int
    """Samples that count; what was left out is in `excluded`."""
    excluded: dict[str, int] = {}
    """Rows that do not count, by why: twice, unknown PoP, more than can be carried, ..."""
    sources: tuple[str, ...] = ()
    """Files that were read in, as the manifest names them."""
    settings: dict[str, str | int | float] = {}
    """By which it was computed: billing, zone of the billing month, engine, ..."""


class Utilisation(msgspec.Struct, frozen=True, kw_only=True):
    """A report: its facts, and every table of `TABLES`, empty where a step was not run."""

    facts: Facts
    tables: dict[str, pa.Table]

    def save(self, folder: Path) -> None:
        """Write it as Parquet, a file each, and `report.json`. Raises `BadPlan`."""
        facts = msgspec.json.format(msgspec.json.encode(self.facts)) + b"\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in TABLES:
                write_parquet(folder / f"{name}.parquet", self.tables[name])
            (folder / _FACTS).write_bytes(facts)
        except OSError as error:
            words = error.strerror or str(error)
            raise BadPlan(f"{folder} cannot be written ({words}); name another folder.") from error

    @classmethod
    def load(cls, folder: Path) -> Utilisation:
        """One that `save` wrote. Raises `BadPlan`."""
        try:
            facts = msgspec.json.decode((folder / _FACTS).read_bytes(), type=Facts)
            read = {name: pq.read_table(folder / f"{name}.parquet") for name in TABLES}
            tables = {name: table.cast(TABLES[name]) for name, table in read.items()}
        except (OSError, pa.ArrowException, msgspec.MsgspecError, ValueError) as error:
            words = "make it with `selvedge plan utilisation --parquet`"
            raise BadPlan(f"{folder} holds no utilisation report ({error}); {words}.") from error
        return cls(facts=facts, tables=tables)

    def to_json(self) -> bytes:
        """All of it but `hourly`, as one line: `{"facts": ..., "tables": {name: [row, ...]}}`."""
        shown = {name: self.rows(name) for name in TABLES if name not in _INTERNAL}
        return msgspec.json.encode({"facts": self.facts, "tables": shown})

    def rows(self, name: str) -> list[dict[str, Any]]:  # Any: a cell is text, a number or None
        """A table as dictionaries."""
        found: list[dict[str, Any]] = self.tables[name].to_pylist()
        return found


def empty_tables() -> dict[str, pa.Table]:
    """Every table, without rows."""
    return {name: schema.empty_table() for name, schema in TABLES.items()}
