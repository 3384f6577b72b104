"""The month's residency reports, held against its invoices: `python -m bench.month_audit`.

    python -m bench.month && python -m bench.month_audit

Every tenant's month is invoiced, unless `bench.month_bill` has done so, and reported as `selvedge
audit residency` does it: from the collectors' partitions, the release that the receipts name, and
the issued invoices. Receipts by the reports, by the invoices' folds and by the logs are the same,
and nothing was processed outside its zone.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bench.figures import OUT, Figures, bar, circumstances, print_table, write_figures
from bench.month import DIRECTORY
from bench.month_bill import issue_all
from bench.month_logs import PACE, Pace, write_logs
from bench.month_world import MONTH, PLACES, make_release
from selvedge.adapters import (
    RELEASES,
    ReleaseArchive,
    operator_public_key,
    seal_release,
)
from selvedge.control import Home, LogSources, Receipts, Reporting, Wish
from selvedge.ledger import (
    PriceBook,
    end_day,
    first_day,
)
from selvedge.plan import (
    ResidencyReport,
    check_report,
    seed_of_beacon,
    sign_report,
)
from selvedge.sim import with_keys_of_simulation
from selvedge.tlog import parse_trust, release_policy, verify_bundle

BEACON = "4242:" + "5e1f" * 16
"""Stands for a round of public randomness: nobody chose it, but nobody drew it either."""
SAMPLE = 20


def keep_release(home: Home) -> None:
    """The release that the month's receipts name."""
    release = with_keys_of_simulation(make_release())
    ReleaseArchive(home.directory / RELEASES).keep(seal_release(release, home.operator_key()))


def report_all(
    directory: Path, home: Home, receipts: Receipts, console: Console
) -> dict[str, ResidencyReport]:
    """Everybody's report, signed, below ``reports``."""
    logs = directory / "logs"
    homes = {one.id: str(logs / "zones" / one.id) for one in make_release().logs}
    reporting = Reporting(home, receipts, LogSources(logs / "pops", homes))
    public = operator_public_key(home.operator_key())
    seed = seed_of_beacon(BEACON)
    found = {}
    tenants = sorted(one.id for one in make_release().tenants)
    (directory / "reports").mkdir(exist_ok=True)
    for tenant in tenants:
        wish = Wish(tenant, first_day(MONTH), end_day(MONTH), seed, SAMPLE)
        report = reporting.report(wish)
        assert not check_report(report), check_report(report)
        path = directory / "reports" / f"{tenant}.json"
        path.write_bytes(sign_report(report, home.operator_key(), public))
        found[tenant] = report
        console.print(f"{tenant}: {report.receipts:,} receipts")
    return found


def logs_of(directory: Path, collectors: list[Path], pace: Pace) -> int:
    """The month's logs, made where there are none yet; how many entries they have."""
    noted = directory / "logs" / "entries"
    if not noted.exists():
        counts = write_logs(directory / "logs", make_release(), collectors, pace)
        noted.write_text(str(sum(counts.values())))
    return int(noted.read_text())


def leaves_of_others(reports: dict[str, ResidencyReport]) -> int:
    """Leaves of the PoPs' logs that are no tenant's: all that are there, less all reports'."""
    logs = {}
    ours = 0
    for one in reports.values():
        for log in one.completeness.logs:
            logs[log.origin] = log.leaves + log.others
            ours += log.leaves
    return sum(logs.values()) - ours


def verify_proofs(reports: dict[str, ResidencyReport]) -> int:
    """Every sampled receipt's bundle, by the keys of the release and a quorum of its witnesses."""
    release, count = make_release(), 0
    texts = {log.id: release_policy([release], log.id) for log in release.logs}
    trusts = {zone: parse_trust(text) for zone, text in texts.items()}
    for one in reports.values():
        for sampled in one.sample.drawn if one.sample else ():
            assert sampled.is_proved, "there are logs"
            zone = PLACES[sampled.pop][0]
            findings = verify_bundle(bytes(sampled.proof) + b"\n", trusts[zone])
            assert all(found.good for found in findings), findings[-1].text
            count += 1
    return count


def audit(
    directory: Path, console: Console, pace: Pace = PACE
) -> tuple[Figures, dict[str, ResidencyReport]]:
    """Invoice, report, compare."""
    book = msgspec.json.decode((directory / "prices.json").read_bytes(), type=PriceBook)
    home = Home(directory / "home")
    home.directory.mkdir(exist_ok=True)
    keep_release(home)
    named = sorted(one for one in directory.iterdir() if (one / "partitions").is_dir())
    receipts = Receipts.at(home, named)
    if not (home.directory / "invoices").is_dir():
        issue_all(receipts, home, book)
    entries = logs_of(directory, named, pace)
    began, cpu = time.perf_counter(), time.process_time()
    reports = report_all(directory, home, receipts, console)
    whole = [one.completeness for one in reports.values()]
    proofs = verify_proofs(reports)
    counted = sum(one.receipts for one in reports.values())
    figures: Figures = {
        "audit_reports": len(reports),
        "audit_receipts": counted,
        "audit_folded_by_invoices": sum(one.folded for one in whole),
        "audit_in_issued_invoices": sum(one.invoiced for one in whole),
        "audit_leaves": sum(one.leaves or 0 for one in whole),
        "audit_log_entries": entries,
        "audit_log_leaves_of_others": leaves_of_others(reports),
        "audit_proofs_verified": proofs,
        "audit_difference": sum(one.difference for one in whole),
        "audit_exceptions": sum(one.exception_count for one in reports.values()),
        "audit_sampled": sum(len(one.sample.drawn) for one in reports.values() if one.sample),
        "audit_s": round(time.perf_counter() - began, 1),
        "audit_cpu_s": round(time.process_time() - cpu, 1),
        "audit_us_a_receipt": round((time.process_time() - cpu) / max(counted, 1) * 1e6, 1),
        "audit_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
    }
    return figures, reports


def show(reports: dict[str, ResidencyReport]) -> None:
    """A row a tenant."""
    table = Table(box=None, pad_edge=False)
    for name in ("tenant", "receipts", "folded", "invoiced", "leaves", "difference", "exceptions"):
        table.add_column(name, justify="left" if name == "tenant" else "right")
    for tenant, one in reports.items():
        whole = one.completeness
        counts = (one.receipts, whole.folded, whole.invoiced, whole.leaves or 0)
        row = (*counts, whole.difference, one.exception_count)
        table.add_row(tenant, *(f"{count:,}" for count in row))
    Console(highlight=False).print(table)


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), default=DIRECTORY)
def main(directory: Path) -> None:
    """Report the month that `python -m bench.month` made."""
    console = Console(stderr=True)
    if not (directory / "prices.json").exists():
        console.print("skipped: there is no month; 'python -m bench.month' makes one")
        sys.exit(0)
    figures, reports = audit(directory, console)
    show(reports)
    same = {figures[name] for name in figures if name.startswith("audit_fo")}
    same |= {figures[f"audit_{one}"] for one in ("receipts", "in_issued_invoices", "leaves")}
    met = {
        "audit_receipts": len(same) == 1,
        "audit_difference": figures["audit_difference"] == 0,
        "audit_exceptions": figures["audit_exceptions"] == 0,
    }
    words = {
        "audit_receipts": "= invoices = leaves",
        "audit_difference": "0",
        "audit_exceptions": "0",
    }
    write_figures("month-audit", {**figures, **circumstances()}, OUT)
    rows = [
        (name, f"{value:,}", bar(met[name], words[name]) if name in met else "")
        for name, value in figures.items()
    ]
    print_table("month-audit", rows)
    sys.exit(0 if all(met.values()) else 1)


if __name__ == "__main__":
    main()
