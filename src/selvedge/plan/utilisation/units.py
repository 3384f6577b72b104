"""One month of a history, added up where its rows are: only sums come from there.

On one machine rows come to the sums (`month`). On a cluster that would be dear, so there the sums
go to the rows. The known PoPs are dealt out into units. The engine is asked the same expression
(`samples`), sends the rows of a unit to one of its workers, and the worker adds them up by the same
compiled sweeps, as if the unit were the whole fleet (`add_up`). What comes here, about 30 kB a PoP
before it is packed, and the moments of its groups, is put in place of a fleet's (`_put`).

PoPs that have a moment twice are left out at first, as on one machine. The engine is then asked for
all their rows once more, each moment once.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selvedge.plan.utilisation.answers import Edges, MonthFound, Question
from selvedge.plan.utilisation.engines import Spreading
from selvedge.plan.utilisation.entering import NUMBERS, Entry
from selvedge.plan.utilisation.places import Group, Places
from selvedge.plan.utilisation.samples import RESOURCES_BP, measured, once
from selvedge.plan.utilisation.sheets import batches

UNIT_POPS: Final = 128
"""PoPs of a unit, at most: a month of them is about 60 MB in a worker."""
_UNITS: Final = 16
"""That there are at least, where there are as many PoPs."""
_FORM: Final = "zstd"

Ints = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]
Expr = Any  # Ibis' expressions have no types that mypy could follow through a query


def answer_apart(
    engine: Spreading, raw: Expr, question: Question, before: Edges | None
) -> MonthFound:
    """A month's answers from `raw`, its rows. `before` is `edges` of the month before."""
    found = MonthFound.empty(question, before)
    capacities = None
    if question.lacks_capacity:
        capacities = engine.give("capacities", question.places.capacities())

    def add(rows: Expr, pops: Sequence[int]) -> tuple[Ints, list[int]]:
        """Put the sums of PoPs in; the rows of each, and those that have a moment twice."""
        units = deal(question.places, pops)
        rows = _by_unit(engine, rows, units).select(*raw.columns, "unit")
        rows = measured(rows, question.billing, capacities, [*RESOURCES_BP.values(), "unit"])
        # Who is left out keeps its edge, so that it is still the one before the second time.
        work = partial(add_up, question=question, before=found.rises.edge, units=units)
        return _put_all(found, engine.gather(rows, work), units)

    rows, doubled = add(raw, question.places.known)
    if doubled:
        kept, _ = add(once(raw.filter(raw.pop.isin(doubled))), doubled)
        found.doubled += doubled
        found.excluded["twice"] = int(rows[doubled].sum() - kept.sum())
    return found


def deal(places: Places, pops: Sequence[int]) -> list[Ints]:
    """PoPs as units. Those of the same groups are together: their moments are one row of sums."""
    cells = places.cells()
    order = np.array(sorted(pops, key=lambda pop: (cells[pop], pop)), np.int64)
    count = max(-(-len(order) // UNIT_POPS), min(_UNITS, len(order)))
    return [np.sort(some) for some in np.array_split(order, count)]


def add_up(
    unit: int, rows: pa.Table, *, question: Question, before: Edges, units: list[Ints]
) -> bytes:
    """A unit's sums from its `measured` rows, packed. This is what runs on a worker.

    Rows of PoPs that are not of the unit are counted as unknown.
    """
    pops = units[unit]
    number = np.full(NUMBERS, -1, np.int32)
    number[pops] = np.arange(len(pops))
    rows = rows.drop_columns("unit")
    place = number[rows["pop"].to_numpy()]
    ours = place >= 0
    if not ours.all():
        rows, place = rows.filter(pa.array(ours)), place[ours]
    rows = rows.set_column(rows.schema.get_field_index("pop"), "pop", pa.array(place))
    alone = replace(question, places=_only(question.places, pops))
    found = MonthFound.empty(alone, Edges(*(column[pops] for column in before)))
    found.excluded["unknown_pop"] += int((~ours).sum())
    entered = Entry(found).enter(range(len(pops)), batches(rows))
    return _pack(unit, found, {"rows": entered.rows, "doubled": np.any(entered.doubled, axis=1)})


def _by_unit(engine: Spreading, raw: Expr, units: list[Ints]) -> Expr:
    """Rows with the number of their unit. Strange PoPs go anywhere, to be counted there."""
    pops = np.concatenate(units)
    numbers = np.repeat(np.arange(len(units)), [len(some) for some in units])
    given = {"pop": pa.array(pops, pa.uint16()), "number": pa.array(numbers, pa.int32())}
    dealt = engine.give("units", pa.table(given))
    rows = raw.join(dealt, "pop", how="left")
    anywhere = (rows.pop.cast("int64") % len(units)).cast("int32")
    return rows.mutate(unit=ibis.coalesce(rows.number, anywhere))


def _only(places: Places, pops: Ints) -> Places:
    """Some PoPs as a fleet of their own, numbered anew."""
    number = {pop: place for place, pop in enumerate(pops.tolist())}
    groups = [
        Group(one.level, one.name, tuple(number[pop] for pop in one.pops if pop in number))
        for one in places.groups
    ]
    sites = tuple(places.sites[pop] for pop in pops)
    return Places(
        names=tuple(places.names[pop] for pop in pops),
        sites=sites,
        zones=tuple(sorted({site.timezone for site in sites if site and site.timezone})),
        groups=tuple(one for one in groups if one.pops),
    )


def _by_pop(found: MonthFound) -> Arrays:
    """The answers that are of each PoP alone, by name."""
    profile, rises = found.profile, found.rises
    # Any: their kinds have no base that has fields.
    tuples: dict[str, Any] = {"sums": found.sums, "hours": found.hours, "edge": rises.edge}
    named = {f"{name}.{one}": getattr(of, one) for name, of in tuples.items() for one in of._fields}
    named |= {f"profile.{one}": getattr(profile, one) for one in ("n", "bytes", "carried")}
    named |= {"rises.counts": rises.counts, "leaps.number": rises.leaps.number}
    named |= {f"shares.{one}": counts for one, counts in found.shares.items()}
    return {**named, "ranks": found.ranks}


def _leaps(found: MonthFound, number: npt.NDArray[Any]) -> Iterator[tuple[str, Any]]:
    """The largest leaps by place and PoP, as many places as one of `number` has."""
    leaps, most = found.rises.leaps, int(number.max(initial=0))
    for name in ("rise", "began", "ended"):
        yield name, getattr(leaps, name)[:most]


def _pack(unit: int, found: MonthFound, more: Arrays) -> bytes:
    """Answers as bytes: arrays by name, and nothing that could be carried out."""
    pairs = np.array(list(found.pairs), np.int64).reshape(-1, 2)
    arrays = _by_pop(found) | more
    arrays |= {f"leaps.{one}": column for one, column in _leaps(found, arrays["leaps.number"])}
    arrays |= {"cells": found.cells, "cell_of": found.cell_of}
    arrays |= {"free": found.free, "laws": found.laws}
    arrays |= {"pairs": pairs, "uses": found.uses[: len(pairs)]}
    arrays |= {"changes": np.array(found.changes, np.int64).reshape(-1, 3)}
    arrays |= {f"excluded.{why}": np.array(count) for why, count in found.excluded.items()}
    plain, packed = io.BytesIO(), pa.BufferOutputStream()
    arrays["unit"] = np.array(unit)
    np.savez(plain, allow_pickle=False, **arrays)
    with pa.CompressedOutputStream(packed, _FORM) as stream:
        stream.write(plain.getbuffer())
    return bytes(packed.getvalue())


def _unpack(packed: bytes) -> Arrays:
    with pa.CompressedInputStream(pa.BufferReader(packed), _FORM) as stream:
        plain = stream.read()
    with np.load(io.BytesIO(plain), allow_pickle=False) as arrays:
        return dict(arrays)


def _put_all(
    found: MonthFound, answers: Iterable[bytes], units: list[Ints]
) -> tuple[Ints, list[int]]:
    """Put them in; the rows of each PoP, and the PoPs that are left out."""
    rows = np.zeros(len(found.cell_of), np.int64)
    doubled: list[int] = []
    for packed in answers:
        sent = _unpack(packed)
        pops = units[int(sent["unit"])]
        _put(found, pops, sent)
        rows[pops] = sent["rows"]
        doubled += pops[sent["doubled"]].tolist()
    return rows, sorted(doubled)


def _put(found: MonthFound, pops: Ints, sent: Arrays) -> None:
    """A unit's sums among the fleet's."""
    for name, column in _by_pop(found).items():
        column[pops] = sent[name]
    for name, leaps in _leaps(found, sent["leaps.number"]):
        leaps[:, pops] = sent[f"leaps.{name}"]
    cells = np.zeros(sent["cells"].shape[1], np.int64)
    cells[sent["cell_of"]] = found.cell_of[pops]
    found.cells[:, cells] += sent["cells"]
    laws = np.zeros(len(sent["free"]), np.int64)
    laws[sent["laws"]] = found.laws[pops]
    old, new = found.free[laws], sent["free"]
    found.free[laws] = np.where(new >= 0, np.maximum(old, 0) + new, old)
    pairs = zip(pops[sent["pairs"][:, 0]].tolist(), sent["pairs"][:, 1].tolist(), strict=True)
    found.put_uses(list(pairs), sent["uses"])
    pop, hour, capacity = sent["changes"].T
    changes = (pops[pop].tolist(), hour.tolist(), capacity.tolist())
    found.changes += zip(*changes, strict=True)
    for why in found.excluded:
        found.excluded[why] += int(sent.get(f"excluded.{why}", 0))
