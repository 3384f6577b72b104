"""The residency report of a tenant, from receipts, releases, invoices and logs of this machine.

What the receipts say is counted by the ledger's fold. Here it is held against everything that
should say the same: the numbers that collectors have taken, the fold that invoices are made of,
issued invoices, and the leaves of the PoPs' logs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from selvedge.adapters import LeafJoin, numbers_around, rows_of_tenant
from selvedge.control.accounts import collected_in, is_collector, pop_directories
from selvedge.control.home import Home
from selvedge.control.invoice_store import InvoiceStore, check_tenant
from selvedge.control.invoicing import Receipts
from selvedge.control.kept_releases import KeptReleases
from selvedge.control.pop_logs import LogSources, PopLogs
from selvedge.fabric import SelvedgeError
from selvedge.ledger import (
    BLOCK,
    Closing,
    DoubleReceipt,
    FoldAsked,
    Numbers,
    Origin,
    Run,
    is_day,
    month_bounds,
    us_of_day,
    write_invoice,
)
from selvedge.plan import (
    SAMPLE_RULE,
    Completeness,
    Draw,
    Findings,
    InvoiceSeen,
    LogSeen,
    Numbered,
    ReportAsked,
    ResidencyFold,
    ResidencyReport,
    Sample,
    StreamRuns,
    compare_numbers,
    find_gaps,
    unread_of,
    where_of,
)
from selvedge.tlog import month_of, shard_order

SAMPLE_MAX = 1_000


class Wish(NamedTuple):
    """What is asked for: days as ISO dates, half open; a seed and a size for the sample."""

    tenant: str
    since: str
    until: str
    seed: str | None = None
    sample: int = 20


class Around(NamedTuple):
    """What is known of a tenant's numbers outside the period's own receipts."""

    before: Numbers
    after: Numbers
    elsewhere: dict[Origin, list[Run]]
    held: dict[Origin, list[Run]]


def check_wish(wish: Wish) -> ReportAsked:
    """The days as microseconds. Raises `SelvedgeError`."""
    check_tenant(wish.tenant)
    for name, day in (("--from", wish.since), ("--to", wish.until)):
        if not is_day(day):
            raise SelvedgeError(f"{name}: {day!r} is not a UTC day, as '2026-11-01'")
    if wish.since >= wish.until:
        words = f"--to {wish.until} is not after --from {wish.since}; --to is the first day after"
        raise SelvedgeError(f"{words} the report, as 2026-12-01 for November")
    if not 0 < wish.sample <= SAMPLE_MAX:
        raise SelvedgeError(f"--sample is from 1 to {SAMPLE_MAX} receipts, not {wish.sample}")
    return ReportAsked(wish.tenant, us_of_day(wish.since), us_of_day(wish.until))


def sources_for_report(home: Home, collected: Iterable[Path]) -> Receipts:
    """Collectors that are named, and journals of the home for zones that these do not collect.

    Raises `SelvedgeError` where there is nothing to read.
    """
    named = list(collected)
    for directory in named:
        if not is_collector(directory):
            raise SelvedgeError(f"{directory} is no collector's directory: it has no segment")
    pops = pop_directories(home)
    if not named and not pops:
        words = f"no PoP has receipts under {home.directory}"
        raise SelvedgeError(f"{words}; give its --home, or --collected DIR")
    return Receipts(collected_in(home, named) if named else [], pops)


class Reporting:
    """Makes residency reports from one set of sources."""

    def __init__(self, home: Home, receipts: Receipts, logs: LogSources | None = None) -> None:
        """Without ``logs`` none are read."""
        self._home = home
        self._receipts = receipts
        self._sources = logs
        self._releases = KeptReleases(home)

    def report(self, wish: Wish) -> ResidencyReport:
        """The report. Raises `SelvedgeError` where there is none to be made."""
        asked = check_wish(wish)
        draw = Draw(wish.seed, wish.tenant, wish.sample) if wish.seed is not None else None
        logs = None
        if self._sources is not None:
            logs = PopLogs(self._home, self._releases, asked, self._sources)
        with contextlib.closing(LeafJoin()) as join:
            streams: dict[Origin, int] = {}

            def want(origin: Origin, seq: int, leaf: bytes) -> None:
                if logs is not None:
                    join.want(streams.setdefault(origin, len(streams)), seq, leaf)

            fold = ResidencyFold(asked, self._releases.judge, draw, want)
            around = self._take(asked, fold)
            self._check_known(asked, fold, around)
            seen = _logged(fold, logs, join, streams) if logs is not None else None
            whole = self._completeness(asked, fold, around, seen)
        sample = _sample(fold, wish.sample, draw, logs)
        return self._made(wish, fold, _with_proofs(whole, fold), sample)

    def _take(self, asked: ReportAsked, fold: ResidencyFold) -> Around:
        """Every row of the time to the fold; what is known of the numbers around it."""
        before, after = Numbers(), Numbers()
        elsewhere: dict[Origin, list[Run]] = {}
        held: dict[Origin, list[Run]] = {}
        for snapshot in self._receipts.snapshots:
            for row in rows_of_tenant(snapshot.parts, *asked):
                fold.take(row)
            for mine, theirs in zip(
                (before, after), numbers_around(snapshot.parts, *asked), strict=True
            ):
                mine.join(theirs)
            if not snapshot.segments:
                continue
            known = snapshot.known()
            for found, ranges in ((elsewhere, known.elsewhere), (held, known.held)):
                for (tenant, pop, worker), runs in ranges.items():
                    if tenant == asked.tenant:
                        found.setdefault(Origin(pop, worker), []).extend(runs)
        for row in self._receipts.rows_outside_parts():
            if row.tenant != asked.tenant:
                continue
            if asked.since_us <= row.received_us < asked.until_us:
                fold.take(row)
            elif not row.conflict:
                numbers = before if row.received_us < asked.since_us else after
                one = Numbers()
                one.add(Origin(row.pop, row.worker), row.seq // BLOCK, 1 << row.seq % BLOCK)
                numbers.join(one)
        for one_side in (elsewhere, held):
            for listed in one_side.values():
                listed.sort()
        return Around(before, after, elsewhere, held)

    def _check_known(self, asked: ReportAsked, fold: ResidencyFold, around: Around) -> None:
        if fold.receipts or fold.findings.counts or around.held:
            return
        if around.before.count or around.after.count:
            return
        release = self._home.release()
        if release is None or asked.tenant not in {one.id for one in release.tenants}:
            words = "has no receipts here, and the release that serves does not name it"
            raise SelvedgeError(f"tenant {asked.tenant!r} {words}; is it its name?")

    def _completeness(
        self,
        asked: ReportAsked,
        fold: ResidencyFold,
        around: Around,
        logged: tuple[int, tuple[LogSeen, ...]] | None,
    ) -> Completeness:
        numbered = Numbered(fold.numbers, *around)
        findings = fold.findings
        closings = InvoiceStore(self._home).closings(asked.tenant)
        seen, cut, other = _invoiced(closings, asked, fold.numbers)
        find_gaps(numbered, other, findings)
        here = Numbers()
        for one in (fold.numbers, around.before, around.after):
            here.join(one)
        _name(
            cut.without(here), findings, "invoiced: an issued invoice folds it, and it is not here"
        )
        moved = _both(cut, here).without(fold.numbers)
        words = "an issued invoice folds it in this period, and its receipt says another time"
        _name(moved, findings, f"moved: {words}")
        twice = _both(around.before, fold.numbers)
        twice.join(_both(around.after, fold.numbers))
        _name(twice, findings, "double: it is there a second time, received at another time")
        folded = self._folded(asked, fold)
        for release, count in sorted(fold.unjudged.items()):
            words = "is not kept here, so its receipts cannot be judged"
            findings.add("release", f"release {release}", words, count)
        return Completeness(
            receipts=fold.receipts,
            leaves=logged[0] if logged is not None else None,
            folded=folded.count,
            invoiced=_both(cut, fold.numbers).count,
            elsewhere=unread_of(numbered),
            streams=tuple(StreamRuns(*origin, runs) for origin, runs in fold.numbers.runs()),
            invoices=seen,
            logs=logged[1] if logged is not None else (),
            differences=dict(sorted(findings.counts.items())),
            named=findings.named,
        )

    def _folded(self, asked: ReportAsked, fold: ResidencyFold) -> Numbers:
        """The receipts that invoices would fold, by their own fold over columns."""
        wish = FoldAsked(asked.since_us, asked.until_us, asked.tenant)
        try:
            usage = self._receipts.fold(wish).get(asked.tenant)
        except DoubleReceipt as error:
            fold.findings.add("fold", "the fold of invoices", str(error))
            return Numbers()
        folded = usage.numbers if usage is not None else Numbers()
        words = (
            "fold: the fold of invoices does not have it",
            "fold: the fold of invoices has it, and this report does not",
        )
        compare_numbers(fold.numbers, folded, fold.findings, words)
        return folded

    def _made(
        self, wish: Wish, fold: ResidencyFold, whole: Completeness, sample: Sample | None
    ) -> ResidencyReport:
        release = self._home.release()
        fleet = release.fleet if release is not None else self._releases.fleet
        return ResidencyReport(
            fleet=fleet or "-",
            tenant=wish.tenant,
            since=wish.since,
            until=wish.until,
            receipts=fold.receipts,
            outcomes=dict(sorted(fold.outcomes.items())),
            purposes=dict(sorted(fold.purposes.items())),
            places=fold.places(),
            unprocessed=fold.unprocessed,
            cached=fold.cached,
            rules=fold.rules(),
            ingress=fold.ingress(),
            refusals=fold.refusals(),
            attempts=fold.attempts(),
            planned=fold.planned(),
            releases=fold.releases(),
            exceptions=dict(sorted(fold.breaches.counts.items())),
            exceptions_named=fold.breaches.named,
            completeness=whole,
            sample=sample,
            notes=tuple(_notes(whole, sample)),
        )


def _logged(
    fold: ResidencyFold, logs: PopLogs, join: LeafJoin, streams: Mapping[Origin, int]
) -> tuple[int, tuple[LogSeen, ...]]:
    """Leaves of receipts against those of logs: how many are there, and the logs."""
    seen, missing = logs.read(join, sorted({origin.pop for origin in streams}))
    for pop, words in missing.items():
        fold.findings.add("log", f"PoP {pop}", words)
    origins = list(streams)
    for one in join.differing():
        words = f"its leaf is logged {one.times} times" if one.times else "its leaf is in no log"
        fold.findings.add("leaf", where_of(origins[one.stream], one.seq), words)
    counted = [
        msgspec.structs.replace(
            one, leaves=join.found_in[number], others=one.others - join.found_in[number]
        )
        for number, one in enumerate(seen)
    ]
    last = month_of(fold.asked.until_us - 1)
    used = (one for one in counted if one.leaves or _month_of_log(one) <= last)
    return join.found, tuple(used)


def _month_of_log(log: LogSeen) -> str:
    return shard_order(log.origin.rpartition("/")[2])[0]


def _sample(
    fold: ResidencyFold, size: int, draw: Draw | None, logs: PopLogs | None
) -> Sample | None:
    """What was drawn, each with its proof where there are logs."""
    if draw is None:
        return None
    drawn = []
    for one in fold.sampled():
        if logs is not None:
            try:
                one = msgspec.structs.replace(one, proof=logs.prove(one))
            except SelvedgeError as error:
                where = where_of(Origin(one.pop, one.worker), one.seq)
                fold.findings.add("proof", where, f"it cannot be proved: {error}")
        drawn.append(one)
    return Sample(SAMPLE_RULE, draw.seed, size, tuple(drawn))


def _with_proofs(whole: Completeness, fold: ResidencyFold) -> Completeness:
    """With what was found while the sample was proved."""
    findings = fold.findings
    counts = dict(sorted(findings.counts.items()))
    return msgspec.structs.replace(whole, differences=counts, named=findings.named)


def _notes(whole: Completeness, sample: Sample | None) -> Iterator[str]:
    """What the report does not say, in words."""
    yield (
        "A report is as true as the receipts that PoPs wrote: it shows that nothing was left out "
        "or changed since, not that a PoP wrote the truth. It is not legal advice."
    )
    if whole.leaves is None:
        yield "No transparency log was read: that receipts were not changed is not shown here."
    silences = sum(one.silence_count for one in whole.logs)
    if silences:
        yield (
            f"Logs were silent {silences:,} times for longer than a log that lives is; what a PoP "
            "does while its log is silent is in its receipts alone."
        )
    if sample is None:
        yield "No sample was drawn: the auditor gave no seed."
    if whole.elsewhere:
        yield (
            f"{whole.elsewhere:,} receipts of the tenant are of zones whose receipts were not "
            "read; name their collectors as well to have them counted."
        )
    if whole.invoiced < whole.receipts:
        count = whole.receipts - whole.invoiced
        yield f"{count:,} of the receipts are in no issued invoice yet."


def _name(numbers: Numbers, findings: Findings, kind_and_words: str) -> None:
    kind, _, words = kind_and_words.partition(": ")
    for origin, runs in numbers.runs():
        for first, last in runs:
            findings.add(kind, where_of(origin, first, last), words, last - first + 1)


def _both(one: Numbers, other: Numbers) -> Numbers:
    return one.without(one.without(other))


def _invoiced(
    closings: Iterable[Closing], asked: ReportAsked, within: Numbers
) -> tuple[tuple[InvoiceSeen, ...], Numbers, Numbers]:
    """Invoices that tell of the period; what those of whole months in it fold; what others do."""
    seen: list[InvoiceSeen] = []
    cut, other = Numbers(), Numbers()
    for closing in closings:
        since, until = month_bounds(closing.month)
        numbers = closing.numbers
        if until <= asked.since_us or asked.until_us <= since:
            other.join(numbers)
            continue
        in_period = _both(numbers, within)
        is_whole = asked.since_us <= since and until <= asked.until_us
        cut.join(numbers if is_whole else in_period)
        digest = hashlib.sha256(write_invoice(closing.invoice)).hexdigest()
        name = closing.invoice.number
        seen.append(InvoiceSeen(name, digest, numbers.count, in_period.count))
    return tuple(sorted(seen)), cut, other
