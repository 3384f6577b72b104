"""Bills by the calendar of each PoP's own zone, where that is asked for.

A local month begins up to fourteen hours before UTC's and ends up to twelve after it. So a month's
bill reads its neighbours too, which is why it is not the rule: three times the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ibis
import numpy as np
import pyarrow as pa

from selvedge.plan.utilisation.engines import Engine
from selvedge.plan.utilisation.places import Places
from selvedge.plan.utilisation.samples import Billing, measured, once, within
from selvedge.plan.utilisation.totals import LOW, WORD
from selvedge.plan.utilisation.zones import HOUR_S, month_span

_EDGE_S: Final = 15 * HOUR_S

Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


def local_spans(places: Places, month: str, asked: tuple[int, int]) -> pa.Table:
    """When the month begins and ends for each PoP: `pop`, `from_s`, `until_s`.

    A PoP without a zone is billed by UTC. `asked` is the time that the report is of.
    """
    spans = {zone: month_span(month, zone) for zone in (*places.zones, "UTC")}
    rows = [
        (pop, *spans[site.timezone or "UTC"])
        for pop, site in enumerate(places.sites)
        if site is not None
    ]
    pops, begins, ends = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return pa.table(
        {
            "pop": pa.array(pops, pa.uint16()),
            "from_s": np.maximum(begins, asked[0]),
            "until_s": np.minimum(ends, asked[1]),
        }
    )


def local_bills(
    engine: Engine,
    places: Places,
    paths: Sequence[Path],
    spans: pa.Table,
    *,
    billing: Billing,
    doubled: Sequence[int],
) -> pa.Table:
    """`pop`, `n`, `peak`, `ranks`, `carried` of the month of those spans, and of `bytes` and
    `judged` two words each (`totals`): `bytes_high`, `bytes_low` and so on.

    `doubled` are the PoPs that have a moment more than once anywhere.
    """
    begin = int(spans["from_s"].to_numpy().min()) - _EDGE_S
    end = int(spans["until_s"].to_numpy().max()) + _EDGE_S
    raw = within(engine.scan(paths), max(begin, 0), end)
    capacities = engine.give("capacities", places.capacities())
    if doubled:
        single = raw.filter(raw.pop.notin(doubled))
        raw = ibis.union(single, once(raw.filter(raw.pop.isin(doubled))).select(*raw.columns))
    rows = measured(raw, billing, capacities).join(engine.give("spans", spans), "pop")
    rows = rows.filter(rows.at_s >= rows.from_s, rows.at_s < rows.until_s, rows.bytes.notnull())
    judged = ibis.ifelse(rows.capacity.notnull(), rows.bytes, 0)
    asked = rows.group_by("pop").agg(
        n=rows.count(),
        peak=rows.bytes.max(),
        ranks=engine.ranked(rows.bytes),
        bytes_high=(rows.bytes >> WORD).sum().cast("int64"),
        bytes_low=(rows.bytes & LOW).sum().cast("int64"),
        judged_high=(judged >> WORD).sum().cast("int64"),
        judged_low=(judged & LOW).sum().cast("int64"),
        carried=ibis.coalesce(rows.capacity, 0).sum().cast("int64"),
    )
    return engine.fetch(asked)
