"""Usage and reconciliation: from journals, logs and partitions alike; whatever differs is named."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.adapters import PlainFiles, as_table, connect, drop_days, write_partitions
from selvedge.control import (
    Finding,
    Home,
    Snapshot,
    collector_directory,
    reconcile,
    service_reports,
    usage_of,
)
from selvedge.control.service_reports import service_of
from selvedge.fabric import Attestation, Attested, Outcome, SelvedgeError, StoreCorrupt, Usage
from selvedge.ledger import (
    GROUPS,
    Batch,
    CollectorLog,
    Sealed,
    ServiceAsked,
    Sums,
    Tallies,
    UsageAsked,
    UsageRow,
    UsageTable,
    fold,
    join,
    read_line,
    row_of_receipt,
    segment_name,
    sums_of,
    write_line,
)
from tests.support.fabric import Site
from tests.support.shipping import Collector as MemoryCollector
from tests.support.shipping import MemoryJournal, Sender, make_receipt

USED = Usage(input_uncached=10, cache_read=3, output=7, reasoning=1, provenance="reported")
FACTS = {"outcome": Outcome.COMPLETE, "usage": USED, "status": 200}


def rows_of(journal: MemoryJournal) -> list[UsageRow]:
    lines = b"".join(journal.segments.values()).splitlines()
    found = [read_line(line) for line in lines if line[:1] == b"R"]
    return [row_of_receipt(one, one.decode()) for one in found if isinstance(one, Sealed)]


def journal_of_many(count: int = 60) -> MemoryJournal:
    journal, rng = MemoryJournal("sin", 0), random.Random(3)
    for _ in range(count):
        facts = FACTS if rng.random() < 0.7 else {"outcome": Outcome.CLIENT_GONE}
        tenant = rng.choice(["asean", "both"])
        journal.write(tenant, "asean", model=rng.choice(["a", "b", None]), **facts)
        if rng.random() < 0.2:
            journal.roll()
    return journal


ROWS = rows_of(journal_of_many())


@given(
    st.permutations(ROWS),
    st.lists(st.sampled_from(GROUPS), unique=True, max_size=3),
    st.integers(0, len(ROWS)),
)
@settings(deadline=None, max_examples=40)
def test_the_order_of_folding_does_not_matter(
    rows: list[UsageRow], by: list[str], cut: int
) -> None:
    wish = UsageAsked(tuple(by))
    whole = fold(ROWS, wish)
    assert fold(rows, wish) == whole
    assert join((fold(rows[:cut], wish), fold(rows[cut:], wish))) == whole
    assert sum(whole.values(), Sums()) == sum((row.sums for row in ROWS), Sums())


def test_rows_bill_what_the_settlement_says() -> None:
    receipts = [make_receipt(one, **FACTS) for one in range(5)]
    receipts.append(make_receipt(9, outcome=Outcome.CLIENT_GONE))
    sealed = [Sealed(msgspec.Raw(msgspec.json.encode(one)), "") for one in receipts]
    rows = [row_of_receipt(one, one.decode()) for one in sealed]
    assert fold(rows, UsageAsked(())) == {(): sums_of(receipts)}
    assert msgspec.structs.replace(rows[0], conflict=True).sums == rows[0].sums
    assert fold([msgspec.structs.replace(rows[0], conflict=True)], UsageAsked()) == {}


def lay_down(home: Home, journal: MemoryJournal) -> Path:
    """A home with one PoP's journal, and its collector's directory with all of it."""
    directory = home.pop(journal.pop) / "receipts"
    directory.mkdir(parents=True)
    for number, data in journal.segments.items():
        (directory / f"receipts-{number:08d}.log").write_bytes(data)
    where = collector_directory(home, "asean")
    collector = MemoryCollector.__new__(MemoryCollector)
    collector.zone, collector.conflicts, collector.deaths = "asean", [], 0
    collector.disk = PlainFiles(where)  # type: ignore[assignment]  # a real one
    collector.log = CollectorLog(collector.disk, "asean", bytes_max=12_000)
    sender = Sender(journal, ["asean"], random.Random(1))
    while sender.send(collector):
        pass
    for segment in collector.log.closed[:-2]:
        write_partitions(where, segment)
        collector.log.remove(segment)
    return where


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    lay_down(found, journal_of_many())
    return found


@pytest.mark.parametrize(
    "by", [("tenant",), (), ("model", "zone", "day"), ("outcome", "pop"), ("hour",)]
)
def test_usage_is_the_same_from_journals_log_and_partitions(
    home: Home, by: tuple[str, ...]
) -> None:
    where = collector_directory(home, "asean")
    assert len(Snapshot(where).parts) > 1
    wish = UsageAsked(by)
    assert usage_of(home, [], wish) == usage_of(home, [where], wish) == fold(ROWS, wish)
    middle = ROWS[30].received_us
    for narrow in (
        UsageAsked(by, since_us=middle),
        UsageAsked(by, until_us=middle),
        UsageAsked(by, tenant="both"),
    ):
        assert usage_of(home, [where], narrow) == fold(ROWS, narrow) == usage_of(home, [], narrow)


def test_a_day_that_is_dropped_while_it_is_read(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = collector_directory(home, "asean")
    days = sorted({part.parent.name for part in Snapshot(where).parts})
    reading = Snapshot.usage

    def dropping(self: Snapshot, wish: UsageAsked) -> UsageTable:
        drop_days(where, days[1].removeprefix("day="))  # the first time there is something
        return reading(self, wish)

    monkeypatch.setattr(Snapshot, "usage", dropping)
    found = usage_of(home, [where], UsageAsked(("day",)))
    assert (days[0].removeprefix("day="),) not in found
    assert (days[1].removeprefix("day="),) in found


def test_service_levels_read_again_what_was_dropped_meanwhile(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = collector_directory(home, "asean")
    days = sorted({part.parent.name for part in Snapshot(where).parts})
    reading = service_reports._of_snapshot
    asked = ServiceAsked(0, 2**62)
    whole = service_of(home, [where], asked)

    def dropping(snapshot: Snapshot, wish: ServiceAsked) -> Tallies:
        drop_days(where, days[1].removeprefix("day="))  # the first time there is something
        return reading(snapshot, wish)

    monkeypatch.setattr(service_reports, "_of_snapshot", dropping)
    assert service_of(home, [where], asked) != whole


def test_reconcile_finds_no_difference_and_names_what_is_made(home: Home) -> None:
    found = reconcile(home)
    assert (found.difference, found.journalled, found.collected) == (0, 60, 60)
    where = collector_directory(home, "asean")
    newest = where / segment_name(max(Snapshot(where).segments))
    receipts = home.pop("sin") / "receipts"
    last = sorted(receipts.glob("*.log"))[-1]
    whole = last.read_bytes()

    more = MemoryJournal("sin", 0)
    more.seqs, more.count = {"asean": 500}, 900
    more.write("asean", "asean")
    last.write_bytes(whole + b"".join(more.segments[1].splitlines(keepends=True)[1:]))
    assert [one.kind for one in reconcile(home).findings] == ["uncollected"]
    last.write_bytes(whole)

    log = CollectorLog(PlainFiles(where), "asean")
    tenant = ROWS[-1].tenant
    lines = [
        write_line(Sealed(msgspec.Raw(row.receipt.encode()), row.salt))
        for row in (
            msgspec.structs.replace(ROWS[-1], receipt=ROWS[-1].receipt.replace("req_", "rxq_")),
        )
    ]
    place = log.known.place("sin", 0)
    taken = log.known.take("sin", Batch(0, place, (place[0], place[1] + 1), lines[0], {}))
    assert len(taken.conflicts) == 1
    log.write(taken.lines)
    kinds = reconcile(home).findings
    assert [(one.kind, one.count) for one in kinds] == [("conflict", 1)]
    assert tenant in kinds[0].where

    data = newest.read_bytes()
    newest.write_bytes(data.replace(b'"tenant":"asean"', b'"tenant":"esean"', 1))
    with pytest.raises(StoreCorrupt, match=f"{newest.name}"):
        reconcile(home)


def test_rows_and_journals_that_disagree_are_named(home: Home) -> None:
    where = collector_directory(home, "asean")
    part = Snapshot(where).parts[0]
    with connect() as database:
        table, changed = as_table([part]), part.with_suffix(".changed")
        columns = "* REPLACE (output + 1 AS output)"
        database.execute(f"COPY (SELECT {columns} FROM {table}) TO '{changed}' (FORMAT parquet)")
    whole = part.read_bytes()
    part.write_bytes(changed.read_bytes())
    found = reconcile(home)
    assert {one.kind for one in found.findings} == {"usage"}
    assert found.findings[0].what == "the row's output is not what its receipt says"
    part.write_bytes(whole)
    part.with_name("part-00009999.parquet").write_bytes(whole)
    assert {one.kind for one in reconcile(home).findings} == {"double"}
    part.with_name("part-00009999.parquet").unlink()

    first = home.pop("sin") / "receipts" / "receipts-00000001.log"
    data = first.read_bytes()
    lines = data.splitlines(keepends=True)
    sealed = read_line(next(one for one in lines if one[:1] == b"R")[:-1])
    assert isinstance(sealed, Sealed)
    other = Sealed(msgspec.Raw(bytes(sealed.receipt).replace(b"req_", b"rxq_")), sealed.salt)
    first.write_bytes(data + write_line(other))
    assert {one.kind for one in reconcile(home).findings} == {"conflict"}
    first.write_bytes(data.replace(write_line(sealed), write_line(other)))
    assert {one.kind for one in reconcile(home).findings} == {"differs"}
    first.write_bytes(data)
    last = max(first.parent.glob("*.log"))
    last.write_bytes(last.read_bytes().replace(b"R ", b"R 0", 1))
    assert {one.kind for one in reconcile(home).findings} == {"damaged", "unknown"}


def test_a_gap_is_named(home: Home) -> None:
    where = collector_directory(home, "asean")
    log = CollectorLog(PlainFiles(where), "asean")
    far = MemoryJournal("fra", 0)
    far.write("asean", "asean")
    far.write("asean", "asean")
    line = far.segments[1].splitlines(keepends=True)[-1]
    log.write(log.known.take("fra", Batch(0, (0, 0), (1, 9), line, {})).lines)
    found = [one for one in reconcile(home).findings if one.kind == "gap"]
    words = "numbers 1 to 1 are missing"
    assert found == [Finding("gap", "asean: tenant asean, PoP fra, worker 0", words)]


def attested(mac: str, usage: Usage, request_id: str) -> Attested:
    word = Attestation(
        ticket="t",
        request_id=request_id,
        pop="fra",
        country="DE",
        entity="e",
        engine="gpu",
        model="m",
        model_digest="unknown",
        release_hash="h",
        outcome=Outcome.COMPLETE,
        usage=usage,
        started_us=1,
        ended_us=2,
    )
    return Attested(msgspec.Raw(msgspec.json.encode(word, order="sorted")), mac)


def test_engines_and_serving_pops_are_held_against_receipts(tmp_path: Path) -> None:
    home, journal = Home(tmp_path), MemoryJournal("sin", 0)
    served = {"served_pop": "fra", "served_engine": "gpu"}
    good, other = attested("a", USED, "req_sin_1"), attested("b", Usage(5, 0, 0, 5), "req_sin_2")
    journal.write("asean", "asean", attested=good, **served, **FACTS)
    journal.write("asean", "asean", attested=other, **served, **FACTS)
    lay_down(home, journal)
    far = home.pop("fra") / "receipts"
    far.mkdir(parents=True)
    lost = attested("c", USED, "req_nobody")
    (far / "receipts-00000001.log").write_bytes(b"".join(map(write_line, (good, lost))))
    found = reconcile(home).findings
    assert {one.kind for one in found} == {"attestation"}
    assert sorted(one.what for one in found) == [
        "PoP fra did not write down its word",
        "PoP fra served it, and no receipt here tells of it",
        "its usage is not what PoP fra attests",
    ]
    page = "# TYPE\nllamacpp:prompt_tokens_total 20\nllamacpp:tokens_predicted_total 17\n"
    result = reconcile(home, counters={"fra/gpu": page})
    (difference,) = [one for one in result.findings if one.kind == "engine"]
    assert difference.what == "16 output tokens by receipts, 17 by its own counter"
    with pytest.raises(SelvedgeError, match=r"fra/gpu has no llamacpp:prompt_tokens_total"):
        reconcile(home, counters={"fra/gpu": "x 1"})


def test_the_commands(home: Home, tmp_path: Path) -> None:
    site = Site(home.directory)
    told = site.call("usage", "--by", "tenant", "--json")
    assert [row["tenant"] for row in told.json] == ["asean", "both"]
    shown = site.call("usage", "--by", "tenant,model", "--since", "2023-11-15")
    assert "all" in shown.out
    where = str(collector_directory(home, "asean"))
    table = tmp_path / "usage.parquet"
    assert site.call("usage", "--collected", where, "--parquet", str(table)).code == 0
    with connect() as database:
        query = f"SELECT sum(receipts) FROM {as_table([table])}"
        assert database.execute(query).fetchone() == (60,)
    told = site.call("reconcile", "--json")
    assert (told.code, json.loads(told.out)["difference"]) == (0, 0)
    assert "difference" in site.call("reconcile").out
    for words, error in (
        (("usage", "--by", "colour"), "--by colour: it is one of tenant"),
        (("usage", "--collected", str(tmp_path)), "is no collector's directory"),
        (("usage", "--since", "soon"), "is no time; write 2026-01-31"),
        (("reconcile", "--engine-metrics", "x"), "is not POP/ENGINE=FILE"),
        (("usage", "--home", str(tmp_path / "none")), "no PoP has receipts"),
        (("reconcile", "--home", str(tmp_path / "none")), "nothing to reconcile"),
    ):
        told = site.call(*words)
        assert told.code != 0
        assert error in told.err
