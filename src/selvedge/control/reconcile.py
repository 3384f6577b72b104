"""Receipts, usage, invoices and what engines reported, held against each other: what differs.

Four questions. Is every receipt of a PoP's journals at the collector of its zone, once and with
the same bytes? Is the usage that is sold what its receipts say? Do serving PoPs, and engines
where their counters are given, tell of the same tokens? And are issued invoices what their receipts
make?
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from selvedge.control.accounts import collected_in, journal_lines, pop_directories
from selvedge.control.home import Home
from selvedge.control.invoice_checks import check_invoices
from selvedge.control.invoice_store import InvoiceStore
from selvedge.control.invoicing import Receipts
from selvedge.fabric import Attested, Outcome, Receipt, SelvedgeError, StoreCorrupt
from selvedge.ledger import (
    Collected,
    Sealed,
    UsageRow,
    in_words,
    read_line,
    row_of_receipt,
)

Key = tuple[str, str, int, int]
"""Tenant, PoP, worker, seq."""
PROMPT_COUNTER: Final = "llamacpp:prompt_tokens_total"
OUTPUT_COUNTER: Final = "llamacpp:tokens_predicted_total"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing that differs; ``count`` is by how much."""

    kind: str
    where: str
    what: str
    count: int = 1


class EngineTotal(msgspec.Struct, frozen=True):
    """Tokens of one engine, by receipts and by its own counters."""

    engine: str
    input_by_receipts: int
    output_by_receipts: int
    input_by_engine: int | None = None
    output_by_engine: int | None = None


class Reconciled(msgspec.Struct, frozen=True):
    """What was compared, and what differs."""

    journalled: int
    collected: int
    waiting: int
    """Receipts of a zone that no collector here is for: they stay at their PoP."""
    attested: int
    doubles: int
    """Receipts that came to a collector more than once; each is kept once."""
    engines: list[EngineTotal]
    findings: list[Finding]
    invoices: int = 0
    """Issued invoices that were made again from their receipts."""
    invoices_unchecked: int = 0
    """Issued invoices whose receipts are not here any more."""

    @property
    def difference(self) -> int:
        """How much differs in all."""
        return sum(one.count for one in self.findings)


class _Journals:
    """What the PoPs of this machine wrote down."""

    def __init__(self, pops: Iterable[Path]) -> None:
        self.digests: dict[str, dict[Key, str]] = {}
        self.firsts: dict[tuple[str, str, int], int] = {}
        self.served: Counter[tuple[str, str]] = Counter()
        self.count = 0
        self.given: dict[str, Attested] = {}
        """Attestations that serving PoPs wrote down, by their MAC."""
        self.taken: dict[str, Receipt] = {}
        """Receipts that hold an attestation, by its MAC."""
        self.requests: set[str] = set()
        self.findings: list[Finding] = []
        for pop in pops:
            for line in journal_lines(pop):
                self._line(pop.name, line)

    def _line(self, pop: str, line: bytes) -> None:
        if line[:2] not in (b"R ", b"A ") or not line.endswith(b"\n"):
            return
        try:
            record = read_line(line[:-1])
        except StoreCorrupt as error:
            self.findings.append(Finding("damaged", f"journal of PoP {pop}", str(error)))
            return
        if isinstance(record, Attested):
            self.given[record.mac] = record
        elif isinstance(record, Sealed):
            self._receipt(record, record.decode())

    def _receipt(self, sealed: Sealed, receipt: Receipt) -> None:
        self.count += 1
        row = row_of_receipt(sealed, receipt)
        digests = self.digests.setdefault(receipt.zone, {})
        key = key_of(row)
        if digests.setdefault(key, row.digest) != row.digest:
            self.findings.append(Finding("conflict", _at(key), "two receipts in its journal"))
        stream = (receipt.tenant, receipt.ingress_pop, receipt.worker)
        self.firsts[stream] = min(self.firsts.get(stream, receipt.seq), receipt.seq)
        self.requests.add(receipt.request_id)
        if receipt.attested is not None:
            self.taken[receipt.attested.mac] = receipt
        if receipt.cache == "hit":
            return  # what it says was used, the engine counted for the first receipt
        if receipt.usage is not None and receipt.served_pop and receipt.served_engine:
            place = f"{receipt.served_pop}/{receipt.served_engine}"
            fresh = receipt.usage.input_uncached + receipt.usage.cache_write
            self.served[place, "input"] += fresh
            self.served[place, "output"] += receipt.usage.generated


def key_of(row: UsageRow) -> Key:
    """What a receipt is known by."""
    return (row.tenant, row.pop, row.worker, row.seq)


def reconcile(
    home: Home, collected: Iterable[Path] = (), counters: Mapping[str, str] | None = None
) -> Reconciled:
    """Compare all that there is. ``counters``: engine as ``pop/engine`` -> its /metrics page."""
    pops = pop_directories(home)
    snapshots = collected_in(home, collected)
    if not pops and not snapshots:
        raise SelvedgeError(
            f"there is nothing to reconcile under {home.directory}; give its --home, or --collected"
        )
    journals = _Journals(pops)
    findings = list(journals.findings)
    held = doubles = 0
    for snapshot in snapshots:
        known = snapshot.known()
        doubles += known.doubles
        findings += _of_collector(known)
        rows, differing = _of_rows(known.zone, snapshot.rows())
        held += len(rows)
        findings += differing
        findings += _of_zone(known.zone, journals, rows, has_journals=bool(pops))
    zones = {snapshot.zone for snapshot in snapshots}
    findings += _of_attestations(journals)
    engines = _engines(journals, counters or {})
    findings += _of_engines(engines)
    invoices = check_invoices(InvoiceStore(home), Receipts(snapshots, pops))
    findings += [Finding("invoice", one.number, one.what) for one in invoices.findings]
    waiting = sum(len(one) for zone, one in journals.digests.items() if zone not in zones)
    attested = len(journals.given)
    return Reconciled(
        journalled=journals.count,
        collected=held,
        waiting=waiting,
        attested=attested,
        doubles=doubles,
        engines=engines,
        findings=sorted(findings),
        invoices=invoices.checked,
        invoices_unchecked=invoices.unchecked,
    )


def _of_collector(known: Collected) -> Iterator[Finding]:
    """What a collector knows to be wrong itself."""
    zone = known.zone
    for stream, runs in known.gaps().items():
        for first, last in runs:
            words = f"numbers {first} to {last} are missing"
            yield Finding("gap", f"{zone}: {in_words(stream)}", words, last - first + 1)
    for (stream, seq), others in known.conflicts.items():
        words = f"number {seq} has {len(others) + 1} receipts"
        yield Finding("conflict", f"{zone}: {in_words(stream)}", words, len(others))


def _of_rows(zone: str, rows: Iterable[UsageRow]) -> tuple[dict[Key, str], list[Finding]]:
    """Receipts that are held, by key; and rows that do not say what their receipt says."""
    found: dict[Key, str] = {}
    findings: list[Finding] = []
    for row in rows:
        if row.conflict:
            continue
        key = key_of(row)
        if key in found:
            findings.append(Finding("double", f"{zone}: {_at(key)}", "it is held twice"))
        found[key] = row.digest
        sealed = Sealed(msgspec.Raw(row.receipt.encode()), row.salt)
        try:
            again = row_of_receipt(sealed, sealed.decode())
        except (UnicodeDecodeError, msgspec.MsgspecError) as error:
            findings.append(Finding("damaged", f"{zone}: {_at(key)}", str(error)))
            continue
        if again != row:
            names = [name for name in row.__struct_fields__ if _differ(row, again, name)]
            words = f"the row's {', '.join(names)} is not what its receipt says"
            findings.append(Finding("usage", f"{zone}: {_at(key)}", words))
    return found, findings


def _differ(one: UsageRow, other: UsageRow, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def _of_zone(
    zone: str, journals: _Journals, held: Mapping[Key, str], *, has_journals: bool
) -> Iterator[Finding]:
    """Journals against a collector. Of what a PoP has dropped, only the collector tells."""
    written = journals.digests.get(zone, {})
    for key, digest in written.items():
        other = held.get(key)
        if other is None:
            yield Finding("uncollected", f"{zone}: {_at(key)}", "the collector has it not")
        elif other != digest:
            yield Finding("differs", f"{zone}: {_at(key)}", "other bytes than in its journal")
    for key in held.keys() - written.keys() if has_journals else ():
        if journals.firsts.get(key[:3], key[3] + 1) <= key[3]:
            yield Finding("unknown", f"{zone}: {_at(key)}", "its journal has it not")


def _of_attestations(journals: _Journals) -> Iterator[Finding]:
    """The word of serving PoPs against receipts."""
    for mac, receipt in journals.taken.items():
        assert receipt.attested is not None, "it is listed by it"
        word = receipt.attested.decode()
        where = f"receipt {receipt.id}"
        if mac not in journals.given and _is_here(word.pop, journals):
            yield Finding("attestation", where, f"PoP {word.pop} did not write down its word")
        if receipt.outcome is Outcome.COMPLETE and receipt.usage != word.usage:
            yield Finding("attestation", where, f"its usage is not what PoP {word.pop} attests")
    for mac, attested in journals.given.items():
        word = attested.decode()
        if mac not in journals.taken and word.request_id not in journals.requests:
            words = f"PoP {word.pop} served it, and no receipt here tells of it"
            yield Finding("attestation", f"request {word.request_id}", words)


def _is_here(pop: str, journals: _Journals) -> bool:
    return any(one.decode().pop == pop for one in journals.given.values())


def _engines(journals: _Journals, counters: Mapping[str, str]) -> list[EngineTotal]:
    places = sorted({place for place, _ in journals.served} | counters.keys())
    found = []
    for place in places:
        by_receipts = (journals.served[place, "input"], journals.served[place, "output"])
        page = counters.get(place)
        by_engine = (None, None) if page is None else _counted(place, page)
        found.append(EngineTotal(place, *by_receipts, *by_engine))
    return found


def _counted(place: str, page: str) -> tuple[int, int]:
    """Prompt and generated tokens of a llama.cpp server's /metrics page."""
    found: dict[str, int] = {}
    for line in page.splitlines():
        name, _, value = line.partition(" ")
        if name in (PROMPT_COUNTER, OUTPUT_COUNTER):
            with contextlib.suppress(ValueError, OverflowError):  # as of one that is cut short
                found[name] = int(float(value))
    if len(found) < 2:
        words = f"has no {PROMPT_COUNTER} and {OUTPUT_COUNTER}"
        raise SelvedgeError(f"the metrics page given for {place} {words}; is it llama.cpp's?")
    return found[PROMPT_COUNTER], found[OUTPUT_COUNTER]


def _of_engines(engines: Iterable[EngineTotal]) -> Iterator[Finding]:
    for one in engines:
        for name, ours, its in (
            ("prompt", one.input_by_receipts, one.input_by_engine),
            ("output", one.output_by_receipts, one.output_by_engine),
        ):
            if its is not None and its != ours:
                words = f"{ours} {name} tokens by receipts, {its} by its own counter"
                yield Finding("engine", one.engine, words, abs(its - ours))


def _at(key: Key) -> str:
    return f"{in_words(key[:3])}, number {key[3]}"
