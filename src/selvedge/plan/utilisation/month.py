"""One month of a history, asked everything that can be asked of it alone.

The engine is asked for what counts of its rows (`samples`), some PoPs at a time, and is already
reading the next ones while the compiled sweeps (`sweeps`) add these up. What leaves this module is
small: sums, counts and the slots of groups. Nothing here knows another month but `before`: the last
hour of the one before it, for the rise over midnight.

Rows of one moment are rare. PoPs that have some are left out, and asked again by themselves with
each moment once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.utilisation.answers import Edges, MonthFound, Question
from selvedge.plan.utilisation.engines import Engine
from selvedge.plan.utilisation.samples import RESOURCES_BP, counted, measured, once, within
from selvedge.plan.utilisation.sheets import Sheet, batches, sheet
from selvedge.plan.utilisation.sweeps import Gpus, Rows, add_free, add_shares
from selvedge.plan.utilisation.zones import HOUR_S

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query
_BLOCK: Final = 512
"""PoPs that are read at a time: with a month of rows about 200 MB, of which there are two."""
_NUMBERS: Final = 2**16


class Month:
    """Asks one month, in one order; see `answer`."""

    def __init__(self, engine: Engine, paths: list[Path], question: Question) -> None:
        self._engine = engine
        self._paths = paths
        self._asked = question
        self._places = question.places
        self._capacities: Expr = None
        self._known = np.zeros(_NUMBERS, bool)
        self._known[self._places.known] = True
        self._gpus = np.zeros(_NUMBERS, np.int64)
        for number in self._places.known:
            site = self._places.sites[number]
            self._gpus[number] = site.gpus if site else 0

    def answer(self, before: Edges | None) -> MonthFound:
        """All of it. `before` is `edges` of the month before."""
        asked = self._asked
        found = MonthFound.empty(asked, before)
        raw = within(self._engine.scan(self._paths), asked.from_s, asked.until_s)
        if asked.lacks_capacity:
            self._capacities = self._engine.give("capacities", self._places.capacities())
        pops = len(self._places.names)
        blocks = [range(one, min(one + _BLOCK, pops)) for one in range(0, pops, _BLOCK)]
        twice = 0
        for block, rows in self._fetched(raw, blocks):
            one = self._enter(block, rows, found)
            found.doubled.extend(one.doubled)
            twice += int(one.rows[np.array(one.doubled, int) - block.start].sum())
        if found.doubled:
            twice -= self._enter_doubled(raw, found)
            found.excluded["twice"] = twice
        return found

    def _fetched(self, raw: Expr, blocks: Sequence[range]) -> Iterator[tuple[range, pa.Table]]:
        """The rows of each block. While one is worked on, the next is fetched."""

        def fetch(block: range) -> pa.Table:
            rows = raw.filter(raw.pop >= block.start)
            if block is not blocks[-1]:
                rows = rows.filter(rows.pop < block.stop)
            return self._fetch(rows)

        with ThreadPoolExecutor(1) as thread:
            ahead = thread.submit(fetch, blocks[0])
            for number, block in enumerate(blocks):
                rows = ahead.result()
                if number + 1 < len(blocks):
                    ahead = thread.submit(fetch, blocks[number + 1])
                yield block, rows

    def _fetch(self, raw: Expr) -> pa.Table:
        shares = list(RESOURCES_BP.values())
        rows = measured(raw, self._asked.billing, self._capacities, shares)
        return self._engine.fetch(counted(rows, shares))

    def _enter(self, block: range, rows: pa.Table, found: MonthFound) -> Sheet:
        """Add a block up, without PoPs that have no site or a moment twice."""
        asked = self._asked
        parts = batches(rows)
        spread = sheet([part for part, _ in parts], block, asked.first_hour_s, asked.hours)
        strange = ~self._known[block.start : block.stop]
        spread = spread.without(strange)
        found.excluded["unknown_pop"] += rows.num_rows - int(spread.rows.sum())
        counts_of = self._known.copy()
        counts_of[spread.doubled] = False
        found.add(spread)
        for part, shares in parts:
            self._add_shares(part, shares, counts_of, found)
        return spread

    def _add_shares(
        self,
        part: Rows,
        shares: dict[str, npt.NDArray[Any]],
        counts_of: npt.NDArray[np.bool_],
        found: MonthFound,
    ) -> None:
        for resource, column in RESOURCES_BP.items():
            add_shares(part.pop, shares[column], counts_of, found.shares[resource])
        gpus = Gpus(np.where(counts_of, self._gpus, 0), found.laws, found.free)
        add_free(part, shares["gpu_bp"], self._asked.first_hour_s, gpus)

    def _enter_doubled(self, raw: Expr, found: MonthFound) -> int:
        """Add up the PoPs that were left out; how many rows of them count."""
        rows = 0
        for begin in range(0, len(found.doubled), _BLOCK):
            pops = found.doubled[begin : begin + _BLOCK]
            near = self._of(raw, pops)
            single = self._fetch(self._single(near))
            self._enter_apart(pops, single, found)
            rows += single.num_rows
        return rows

    def _enter_apart(self, pops: list[int], rows: pa.Table, found: MonthFound) -> None:
        order = np.argsort(rows["pop"].to_numpy(), kind="stable")
        rows = rows.take(pa.array(order)).combine_chunks()
        numbers = rows["pop"].to_numpy()
        for pop in pops:
            begin, end = np.searchsorted(numbers, [pop, pop + 1])
            self._enter(range(pop, pop + 1), rows.slice(begin, end - begin), found)

    def _single(self, near: Expr) -> Expr:
        """Rows with each moment once: only hours that have one twice are ranked."""
        hour = near.at_s.cast("int64") - near.at_s.cast("int64") % HOUR_S
        near = near.mutate(hour=hour)
        moments = near.group_by("pop", "at_s").agg(n=near.count(), hour=near.hour.max())
        hours = moments.filter(moments.n > 1).select("pop", "hour").distinct()
        keys = ["pop", "hour"]
        columns = [name for name in near.columns if name != "hour"]
        ranked = once(self._engine.hold("doubled", near.semi_join(hours, keys).select(*columns)))
        return ibis.union(near.anti_join(hours, keys).select(*columns), ranked.select(*columns))

    def _of(self, rows: Expr, pops: list[int]) -> Expr:
        return rows.filter(rows.pop.isin(pops))
