"""The report, from first to last: months one after the other, then what spans them.

A month is read and asked (`month`), its answers are added up (`tally`), and the sums of groups are
set aside, a file a month. When all months are through, the tables are drawn from what is left.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from selvedge.headroom import Choice, choice_of
from selvedge.plan.history import BadPlan, Finding, History, PopSite
from selvedge.plan.utilisation.answers import Edges, MonthFound, Question
from selvedge.plan.utilisation.engine_chdb import ClickHouse
from selvedge.plan.utilisation.engine_spark import Spark
from selvedge.plan.utilisation.engines import Duck, Engine
from selvedge.plan.utilisation.forecasting import forecast
from selvedge.plan.utilisation.group_tables import group_tables
from selvedge.plan.utilisation.local_bills import local_bills, local_spans
from selvedge.plan.utilisation.month import Month
from selvedge.plan.utilisation.parts import Parts
from selvedge.plan.utilisation.places import Places, place
from selvedge.plan.utilisation.pop_tables import Bills, pop_tables
from selvedge.plan.utilisation.quality import count_findings, find_faults
from selvedge.plan.utilisation.samples import Billing
from selvedge.plan.utilisation.slots import store
from selvedge.plan.utilisation.tables import TABLES, Facts, Utilisation, empty_tables
from selvedge.plan.utilisation.tally import Tally
from selvedge.plan.utilisation.zones import month_span

EngineName = Literal["duckdb", "chdb", "spark"]
BillingMonth = Literal["utc", "local"]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and those there are."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How a report is made."""

    from_s: int | None = None
    until_s: int | None = None
    billing: Billing = "out"
    billing_month: BillingMonth = "utc"
    """Whose calendar a PoP's bill follows; groups are billed by UTC."""
    reserve: Choice = "usual"
    """What is kept for surges of content; see `headroom`."""
    engine: EngineName = "duckdb"
    engine_url: str = ""
    """Where the engine is, for one that can be elsewhere: Spark's master."""
    threads: int = 2
    memory_gib: float = 1.3
    """What the engine may hold; the process needs about 1.5 GiB beside it."""
    faults: bool = True
    """Whether to look for faults of the data."""
    outlook: bool = True
    """Whether to forecast and backtest."""


def report(
    history: History,
    sites: Sequence[PopSite],
    asked: Asked,
    *,
    findings: Sequence[Finding] = (),
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> Utilisation:
    """Make it. Raises `BadPlan`.

    `findings` are what the fleet file's reader found; `scratch` is a folder for what does not fit
    into memory: about 0.7 GB a year of 4,000 PoPs in 360 groups.
    """
    tell = progress or (lambda what, done, of: None)
    try:
        choice_of(str(asked.reserve))
    except ValueError as error:
        raise BadPlan(f"{error}.") from error
    with tempfile.TemporaryDirectory(dir=scratch, prefix="selvedge-report-") as folder:
        return _Report(history, sites, asked, Path(folder)).make(findings, tell)


class _Report:
    def __init__(
        self, history: History, sites: Sequence[PopSite], asked: Asked, scratch: Path
    ) -> None:
        self._history = history
        self._sites = sites
        self._asked = asked
        self._scratch = scratch
        self._manifest = history.read_manifest()
        self._places: Places = place(self._manifest.pops, sites)
        if not self._places.known:
            words = "not one PoP of the history is in the fleet file"
            raise BadPlan(f"{history.folder}: {words}; name the fleet file that it was made with.")
        self._months = self._spans()

    def make(self, findings: Sequence[Finding], tell: Progress) -> Utilisation:
        asked = self._asked
        engine = ENGINES[asked.engine](
            self._scratch, asked.threads, asked.memory_gib, asked.engine_url
        )
        try:
            return self._made(engine, findings, tell)
        finally:
            engine.close()

    def _spans(self) -> list[tuple[str, int, int]]:
        """The months that are asked for, and from when until when of each."""
        found = []
        for month in self._history.months():
            begin, end = month_span(month)
            begin = max(begin, self._asked.from_s or 0)
            end = end if self._asked.until_s is None else min(end, self._asked.until_s)
            if begin < end:
                found.append((month, begin, end))
        if not found:
            folder = self._history.folder
            raise BadPlan(f"{folder} holds no sample of the time that is asked for; ask for more.")
        return found

    def _made(self, engine: Engine, strange: Sequence[Finding], tell: Progress) -> Utilisation:
        parts = Parts(self._history, [month for month, _, _ in self._months], self._scratch)
        from_s, until_s = self._months[0][1], self._months[-1][2]
        tally = Tally(self._places, from_s, until_s, self._asked.reserve)
        bills, stored = Bills(), []
        doubled: set[int] = set()
        before: Edges | None = None
        for number, (month, begin, end) in enumerate(self._months):
            tell(f"month {month}", number, len(self._months))
            found = self._answer(engine, parts, (month, begin, end), before)
            before = None
            if found is not None:
                tally.add(found)
                bills.add(month, (begin, end), found)
                stored.append(store(self._scratch, month, found))
                before = found.rises.edge
                doubled |= set(found.doubled)
            del found
        if not stored:
            words = "not one part of the months asked for can be read"
            raise BadPlan(f"{self._history.folder}: {words}; ingest them again.")
        engine.clear()
        if self._asked.billing_month == "local":
            bills = self._local_bills(engine, parts, (from_s, until_s), sorted(doubled))
        tables = empty_tables()
        tell("tables", len(self._months), len(self._months))
        tables |= pop_tables(self._places, tally, bills, (from_s, until_s))
        tables |= group_tables(self._places, tables, stored, tally)
        tables |= self._faults(engine, strange, parts, tell)
        if self._asked.outlook:
            tell("forecasts", 0, 1)
            zones = [site.timezone if site else "" for site in self._places.sites]
            tables |= forecast(tally.hourly(), tables["hourly"], zones, self._asked.threads)
        tables = {name: tables[name].cast(schema) for name, schema in TABLES.items()}
        return Utilisation(facts=self._facts(tally, (from_s, until_s)), tables=tables)

    def _answer(
        self,
        engine: Engine,
        parts: Parts,
        span: tuple[str, int, int],
        before: Edges | None,
    ) -> MonthFound | None:
        """A month's answers; None where nothing of it can be read."""
        month, begin, end = span
        rows = sum(pq.read_metadata(path).num_rows for path in parts.paths(month))
        if not rows:
            return None
        question = Question(
            places=self._places,
            billing=self._asked.billing,
            from_s=begin,
            until_s=end,
            lacks_capacity=parts.may_lack(month, "capacity_bps"),
        )
        try:
            return Month(engine, parts.paths(month), question).answer(before)
        except Exception:
            # Each engine has its own errors for a damaged page: look for one, or it is ours.
            if not parts.mend(month):
                raise
        return self._answer(engine, parts, span, before)

    def _local_bills(
        self, engine: Engine, parts: Parts, span: tuple[int, int], doubled: list[int]
    ) -> Bills:
        """Bills by the calendars of the PoPs, in place of those by UTC."""
        bills = Bills()
        months = [month for month, _, _ in self._months]
        for number, month in enumerate(months):
            near = months[max(number - 1, 0) : number + 2]
            found = local_bills(
                engine,
                self._places,
                [path for one in near for path in parts.paths(one)],
                spans := local_spans(self._places, month, span),
                billing=self._asked.billing,
                doubled=doubled,
            )
            bills.add_local(month, found, spans)
        return bills

    def _faults(
        self, engine: Engine, strange: Sequence[Finding], parts: Parts, tell: Progress
    ) -> dict[str, pa.Table]:
        """What is wrong with the data, or at least what the report itself stumbled on."""
        found = set(strange)
        if not self._asked.faults:
            found |= set(parts.findings)
        else:
            found |= set(
                find_faults(
                    self._history,
                    self._sites,
                    lambda done, of: tell("faults", done, of),
                    getattr(engine, "connection", None),
                    scratch=self._scratch,
                ).findings
            )
        findings = sorted(
            found, key=lambda one: (one.pop, one.from_s, msgspec.structs.astuple(one))
        )
        return {
            "findings": rows_of("findings", findings),
            "finding_counts": rows_of("finding_counts", count_findings(findings)),
        }

    def _facts(self, tally: Tally, span: tuple[int, int]) -> Facts:
        asked = self._asked
        return Facts(
            from_s=span[0],
            until_s=span[1],
            pops=int((tally.samples > 0).sum()),
            samples=int(tally.samples.sum()),
            excluded={why: tally.excluded.get(why, 0) for why in EXCLUDED},
            sources=tuple(source.name for source in self._manifest.sources),
            settings={
                "billing": asked.billing,
                "billing_month": asked.billing_month,
                "reserve": asked.reserve,
                "engine": asked.engine,
            },
        )


ENGINES: Final[dict[EngineName, Callable[[Path, int, float, str], Engine]]] = {
    "duckdb": Duck,
    "chdb": ClickHouse,
    "spark": Spark,
}
EXCLUDED: Final = ("over_capacity", "twice", "unknown_pop")
"""Why a row does not count: more bytes than fit, the same moment again, no such PoP."""


def rows_of(name: str, rows: Sequence[msgspec.Struct | Finding]) -> pa.Table:
    """Structs as a table of the report."""
    listed = [msgspec.structs.asdict(row) for row in rows]
    return pa.Table.from_pylist(listed, schema=TABLES[name])
