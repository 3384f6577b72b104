"""One month of a history, asked everything that can be asked of it alone.

The engine is asked for what counts of its rows (`samples`), some PoPs at a time, and is already
reading the next ones while the compiled sweeps (`sweeps`) add these up. What leaves this module is
small: sums, counts and the slots of groups. Nothing here knows another month but `before`: the last
hour of the one before it, for the rise over midnight.

Rows of one moment are rare. PoPs that have some are left out, and entered when the engine has
been asked for those rows again, each moment once.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from selvedge.plan.utilisation.answers import Edges, MonthFound, Question
from selvedge.plan.utilisation.engines import Engine, Spreading
from selvedge.plan.utilisation.entering import Entry
from selvedge.plan.utilisation.samples import RESOURCES_BP, measured, once, within
from selvedge.plan.utilisation.sheets import Parts, Sheet, batches, left_over
from selvedge.plan.utilisation.units import answer_apart
from selvedge.plan.utilisation.zones import HOUR_S

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query
_BLOCK: Final = 768
"""PoPs that are read at a time: a month of them is about 250 MB, of which there are two."""


@dataclass(frozen=True, slots=True)
class _Again:
    """PoPs of a block with a moment more than once."""

    block: range
    rows: int
    """Of them, all."""
    kept: Parts
    """Those of hours in which each moment is there once."""
    single: Future[pa.Table]
    """The others', with each moment once."""


class Month:
    """Asks one month, in one order; see `answer`."""

    def __init__(self, engine: Engine, paths: list[Path], question: Question) -> None:
        self._engine = engine
        self._paths = paths
        self._asked = question
        self._places = question.places
        self._capacities: Expr = None

    def answer(self, before: Edges | None) -> MonthFound:
        """All of it. `before` is `edges` of the month before."""
        asked = self._asked
        raw = within(self._engine.scan(self._paths), asked.from_s, asked.until_s)
        if isinstance(self._engine, Spreading):
            return answer_apart(self._engine, raw, asked, before)
        found = MonthFound.empty(asked, before)
        entry = Entry(found)
        if asked.lacks_capacity:
            self._capacities = self._engine.give("capacities", self._places.capacities())
        pops = len(self._places.names)
        blocks = [range(one, min(one + _BLOCK, pops)) for one in range(0, pops, _BLOCK)]
        waiting: _Again | None = None
        # The engine is asked from one thread only, and one question after the other.
        with ThreadPoolExecutor(1) as thread:
            ahead = thread.submit(self._read, raw, blocks[0], len(blocks) == 1)
            for number, block in enumerate(blocks):
                parts = batches(ahead.result())
                if number + 1 < len(blocks):
                    last = number + 2 == len(blocks)
                    ahead = thread.submit(self._read, raw, blocks[number + 1], last)
                entered = entry.enter(block, parts)
                if waiting is not None:
                    self._enter_again(waiting, entry, found)
                waiting = None
                if (twice := entered.doubled.any(axis=1)).any():
                    waiting = _Again(
                        block=block,
                        rows=int(entered.rows[twice].sum()),
                        kept=left_over(entered, parts, asked.first_hour_s),
                        single=thread.submit(self._read_single, raw, entered),
                    )
                # Before the next rows come: two blocks at a time are enough.
                del parts, entered
            if waiting is not None:
                self._enter_again(waiting, entry, found)
        return found

    def _read(self, raw: Expr, block: range, last: bool) -> pa.Table:
        """The rows of a block; of the last one with what is beyond all PoPs."""
        rows = raw.filter(raw.pop >= block.start)
        return self._fetch(rows if last else rows.filter(rows.pop < block.stop))

    def _fetch(self, raw: Expr) -> pa.Table:
        shares = list(RESOURCES_BP.values())
        rows = measured(raw, self._asked.billing, self._capacities, shares)
        return self._engine.fetch(rows)

    def _read_single(self, raw: Expr, sheet: Sheet) -> pa.Table:
        """The rows of hours that have a moment more than once, with each moment once."""
        pop, hour = np.nonzero(sheet.doubled)
        at = hour.astype(np.int64) * HOUR_S + self._asked.first_hour_s
        pops = (pop + sheet.first_pop).astype(np.uint16)
        hours = self._engine.give("doubled", pa.table({"pop": pops, "hour": at}))
        # Between the first and the last: what statistics of files can say no to.
        near = raw.filter(raw.pop.between(int(pops.min()), int(pops.max())))
        near = near.filter(near.pop.isin(np.unique(pops).tolist()))
        near = near.mutate(hour=near.at_s.cast("int64") - near.at_s.cast("int64") % HOUR_S)
        rows = near.semi_join(hours, ["pop", "hour"]).select(*raw.columns)
        return self._fetch(once(rows))

    def _enter_again(self, again: _Again, entry: Entry, found: MonthFound) -> None:
        """Add up the PoPs of a block that were left out, with each moment once."""
        parts = [*again.kept, *batches(again.single.result())]
        rows = entry.enter(again.block, parts).rows
        found.doubled += (np.flatnonzero(rows) + again.block.start).tolist()
        twice = again.rows - int(rows.sum())
        found.excluded["twice"] = found.excluded.get("twice", 0) + twice
