"""What merging finds: faults that show only between two polls, or between two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from selvedge.plan.history import Finding, FindingKind
from selvedge.plan.ingest.cells import Spans, find_crossings
from selvedge.plan.ingest.columns import Array, Readings
from selvedge.plan.ingest.counters import Steps
from selvedge.plan.ingest.faults import Runs, findings_of, runs_of
from selvedge.plan.ingest.renames import Rename
from selvedge.plan.ingest.repeats import Repeats


@dataclass(slots=True)
class Teller:
    """Findings of one month. Rows carry the `run` they came from, and the `line` if known."""

    pops: Sequence[str]
    series: Sequence[str]
    sources: Sequence[tuple[str, str]]
    """Of each run, the file's name and the place in it."""
    from_ms: int
    until_ms: int
    found: list[Finding] = field(default_factory=list)

    def tell_rows(
        self, kind: FindingKind, rows: Readings, mask: Array, words: str, *, is_step: bool = False
    ) -> None:
        """A finding for each run of rows in the month; of steps, from the poll before."""
        mask = mask & (rows.at_ms >= self.from_ms) & (rows.at_ms < self.until_ms)

        def build(run: Runs) -> dict[str, str]:
            return {
                "pop": self.pops[run.pop],
                "series": self.series[run.series],
                "source": self.where(rows, run.first),
                "detail": f"{run.count} {'reading' if run.count == 1 else 'readings'}: {words}",
            }

        runs = runs_of(rows.pop, rows.series, rows.at_ms, mask)
        if is_step:
            runs = [
                msgspec.structs.replace(run, from_ms=int(rows.at_ms[run.first - 1])) for run in runs
            ]
        self.found += findings_of(kind, runs, build)

    def where(self, rows: Readings, row: int) -> str:
        """File and place of a row."""
        name, place = self.sources[int(rows.more["run"][row])]
        line = int(rows.more["line"][row]) if "line" in rows.more else 0
        place = f"line {line}" if line else place
        return f"{name}, {place}" if place else name

    def tell_repeats(self, rows: Readings, repeats: Repeats) -> None:
        """Of moments that two files, or two parts of one, have both."""
        same = repeats.same & ~repeats.differs
        self.tell_rows("duplicate", rows, same, "there already, from before; one kept")
        differs = repeats.differs & ~repeats.by_factor
        self.tell_rows("conflict", rows, differs, "differs from what came before; the first kept")
        words = "differs from what came before by a factor of units; the first kept"
        self.tell_rows("mixed_units", rows, repeats.by_factor, words)

    def tell_steps(self, rows: Readings, every: Sequence[Steps]) -> None:
        """Of counters, each interface once, whichever direction shows it."""
        tables: tuple[tuple[FindingKind, str, str], ...] = (
            ("reset", "is_reset", "the counter began anew; bytes are a lower bound"),
            ("wrap", "is_wrap", "the counter passed its largest value; corrected"),
            ("clock_shift", "is_shift", "the clock moved against the device's uptime"),
            ("over_capacity", "is_over", "more than the interface can carry; kept as it is"),
        )
        for kind, name, words in tables:
            mask = np.zeros(len(rows), bool)
            for steps in every:
                mask[steps.after[getattr(steps, name)]] = True
            self.tell_rows(kind, rows, mask, words, is_step=True)
        self._tell_blind(rows, every)
        self._tell_gaps(rows, every)

    def _tell_blind(self, rows: Readings, every: Sequence[Steps]) -> None:
        blind = np.zeros(len(rows), bool)
        for steps in every:
            blind[steps.after[steps.is_blind]] = True
        words = "a 32-bit counter can wrap more than once between these polls; bytes are a lower"
        self.tell_rows("wrap", rows, blind, f"{words} bound, poll ifHCOutOctets", is_step=True)

    def _tell_gaps(self, rows: Readings, every: Sequence[Steps]) -> None:
        told = set()
        for steps in every:
            for index in np.flatnonzero(steps.is_gap):
                after, before = int(steps.after[index]), int(steps.before[index])
                start, end = int(rows.at_ms[before]), int(rows.at_ms[after])
                if after in told or not self.from_ms <= start < self.until_ms:
                    continue
                told.add(after)
                missed = int(steps.missed[index])
                kept = steps.is_kept[index]
                rest = "its bytes are shared out" if kept else "too long to share its bytes out"
                self.found.append(
                    Finding(
                        kind="gap",
                        pop=self.pops[rows.pop[after]],
                        series=self.series[rows.series[after]],
                        from_s=start // 1000,
                        until_s=end // 1000,
                        count=missed,
                        source=self.where(rows, after),
                        detail=f"{missed} polls missing in {(end - start) // 1000} s; {rest}",
                    )
                )

    def tell_unaligned(self, spans: Spans) -> None:
        """Of each PoP, how much of its month is placed by time alone."""
        mask = (spans.end_ms > self.from_ms) & (spans.end_ms <= self.until_ms)
        found = find_crossings(spans)
        crosses = found.crosses & mask
        if not crosses.any():
            return
        least = int(spans.pop.min())
        pop = spans.pop.astype(np.int64) - least
        every, moved = (np.bincount(pop, np.where(mask, x, 0)) for x in (spans.amount, found.moved))
        counts, steps = np.bincount(pop, crosses), np.bincount(pop, mask)
        rows = np.flatnonzero(crosses)
        for one in np.flatnonzero(counts):
            mine = rows[pop[rows] == one]
            share = moved[one] / every[one] if every[one] else 0.0
            words = f"{int(counts[one])} of {int(steps[one])} readings lie across an edge of five"
            self.found.append(
                Finding(
                    kind="unaligned",
                    pop=self.pops[int(one) + least],
                    from_s=int(spans.start_ms[mine].min()) // 1000,
                    until_s=int(spans.end_ms[mine].max()) // 1000,
                    count=int(counts[one]),
                    detail=f"{words} minutes; {share:.1%} of the bytes are placed by time alone",
                )
            )

    def tell_capacity(self, rows: Readings) -> None:
        """Where a series' capacity is another than at its reading before."""
        if "capacity_bps" not in rows.values:
            return
        rows = rows.take(rows.has("capacity_bps"))
        value = rows.values["capacity_bps"]
        same = (np.diff(rows.pop.astype(int)) == 0) & (np.diff(rows.series.astype(int)) == 0)
        for row in np.flatnonzero(same & (value[1:] != value[:-1])) + 1:
            at = int(rows.at_ms[row])
            if self.from_ms <= at < self.until_ms:
                words = f"from {value[row - 1]:.10g} to {value[row]:.10g} bit/s"
                self.found.append(
                    Finding(
                        kind="capacity_change",
                        pop=self.pops[rows.pop[row]],
                        series=self.series[rows.series[row]],
                        from_s=at // 1000,
                        until_s=at // 1000 + 1,
                        source=self.where(rows, int(row)),
                        detail=words,
                    )
                )

    def tell_rename(self, rename: Rename) -> None:
        """An interface's new name."""
        if not self.from_ms <= rename.until_ms < self.until_ms:
            return
        old, new = self.series[rename.old], self.series[rename.new]
        how = "its counter goes on" if rename.goes_on else "its load goes on, its counter does not"
        self.found.append(
            Finding(
                kind="renamed",
                pop=self.pops[rename.pop],
                series=f"{old} -> {new}",
                from_s=rename.from_ms // 1000,
                until_s=rename.until_ms // 1000 + 1,
                detail=f"{old!r} ends where {new!r} begins; {how}",
            )
        )
