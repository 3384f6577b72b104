"""Moments, as sources write them, in milliseconds UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from selvedge.plan.history import BadPlan, Finding
from selvedge.plan.ingest.mapping import EPOCHS, TimeColumn

AT_MS_MAX: Final = (1 << 32) * 1000
"""Moments of a history are seconds in 32 bits: until 2106."""
_ZONED: Final = r"(Z|[+-]\d\d:?\d\d)$"


@dataclass(frozen=True, slots=True)
class Clock:
    """How one source's times are read."""

    time: TimeColumn

    @property
    def type(self) -> pa.DataType:
        """What a text column of it is parsed as."""
        if self.time.format in EPOCHS:
            return pa.float64() if self.time.format == "epoch_s" else pa.int64()
        return pa.timestamp("ms") if self.time.zone else pa.timestamp("ms", "UTC")

    @property
    def pattern(self) -> str:
        """Its format, where it is strptime's."""
        own = self.time.format
        return "" if own == "iso" or own in EPOCHS else own

    def check(self, where: str) -> None:
        """Raise `BadPlan` where nothing says the zone."""
        if self.pattern and not self.time.zone:
            words = "give time.zone in the mapping file, as UTC or Europe/Berlin"
            raise BadPlan(f"{where}: times as {self.pattern!r} need a zone; {words}.")

    def check_text(self, where: str, text: str) -> None:
        """Look at the first time. Raises `BadPlan` where its zone is not known."""
        if (
            self.time.format != "iso"
            or self.time.zone
            or pc.match_substring_regex(pa.scalar(text.strip()), _ZONED).as_py()
        ):
            return
        words = "write them with Z or an offset, or give time.zone (and format) in a mapping file"
        raise BadPlan(f"{where}: {text!r} is no ISO 8601 time with a zone; {words}.")

    def at_ms(self, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, list[Finding]]:
        """Milliseconds UTC, and what is wrong with local times. Raises `BadPlan`."""
        kind = column.type
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("ms", kind.tz), safe=False)
            if kind.tz:
                return column.cast(pa.int64()), []
            return self._from_local(column)
        if pa.types.is_date(kind):
            return self._from_local(column.cast(pa.timestamp("ms")))
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self.at_ms(self._from_text(column))
        return self._from_numbers(column), []

    def _from_numbers(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        kind = column.type
        factor = EPOCHS.get(self.time.format)
        if factor is None:
            words = "give time.format in the mapping file: epoch_s, epoch_ms, epoch_us, epoch_ns"
            raise BadPlan(f"times are numbers ({kind}); {words}.")
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            column = _as_floats(column)
        # What is far outside is no time: beyond 64 bits, it would be another one.
        wide = pa.float64() if pa.types.is_floating(column.type) else pa.int64()
        wide = pa.uint64() if pa.types.is_uint64(column.type) else wide
        column, limit = column.cast(wide), int(AT_MS_MAX / factor)
        low, high = (pc.min_max(column)[key].as_py() for key in ("min", "max"))
        if low is not None and not 0 <= low <= high < limit:
            zero, most = pa.scalar(0, wide), pa.scalar(limit, wide)
            fits = pc.and_(pc.greater_equal(column, zero), pc.less(column, most))
            column = pc.if_else(fits, column, pa.scalar(None, wide))
        if factor == 1 or (factor > 1 and pa.types.is_integer(kind)):
            return pc.multiply(column.cast(pa.int64(), safe=False), int(factor))
        if pa.types.is_integer(kind):
            return pc.divide(column.cast(pa.int64()), round(1 / factor))
        return pc.floor(pc.multiply(column, factor)).cast(pa.int64(), safe=False)

    def _from_text(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Text of a Parquet file, as a column that is parsed elsewhere. Raises `BadPlan`."""
        kind = self.type
        try:
            if pa.types.is_timestamp(kind) and self.pattern:
                return pc.strptime(column, self.pattern, "ms")
            return column.cast(kind)
        except pa.ArrowInvalid as error:
            words = "give time.format, and time.zone where they carry none, in the mapping file"
            raise BadPlan(
                f"times are text, and not {self.time.format}: {error}; {words}."
            ) from error

    def _from_local(self, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, list[Finding]]:
        zone = self.time.zone
        if not zone:
            words = "give time.zone in the mapping file, as UTC or Europe/Berlin"
            raise BadPlan(f"times carry no zone; {words}.")
        ways = [
            pc.assume_timezone(column, zone, ambiguous=way, nonexistent=way).cast(pa.int64())
            for way in ("earliest", "latest")
        ]
        unclear = pc.sum(pc.not_equal(*ways)).as_py() or 0
        if not unclear:
            return ways[0], []
        words = f"{unclear} local times of {zone} that are twice or never, when clocks change"
        detail = f"{words}; taken as the earlier: export in UTC"
        return ways[0], [Finding(kind="clock_shift", count=unclear, detail=detail)]


def _as_floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        words = "name a column with numbers, text or timestamps as time.column"
        raise BadPlan(f"times are of type {column.type}; {words}.") from error
