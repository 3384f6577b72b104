"""A retrofit's report for people."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from selvedge.cli.tables import console
from selvedge.cli.terminal import printable

Found = dict[str, Any]  # JSON, whose fields are `plan.placement.Report`'s


def show(report: Found) -> None:
    """Print it: the answer, the proof, what others would do, the programme, what was assumed."""
    out = console()
    out.print(answer_words(report))
    out.print(_comparison(report))
    if report["judged"]:
        out.print(_judged(report))
    if report["front"]:
        out.print(_front(report))
    out.print(_programme(report))
    if report["tracked"]:
        out.print(_tracked(report))
    for words in report["findings"]:
        click.echo(f"note: {printable(words)}")


def answer_words(report: Found) -> str:
    """Three sentences: what, how good, how sure."""
    found, (low, high) = report["measures"], report["rtt_ms_band"]
    proof = {
        "certificate": "a certificate that anybody can check",
        "certificate with capacity": "a certificate that counts the room of each site",
    }[report["proof"]]
    return (
        f"{found['new_sites']} new sites beside {report['existing']}, of {report['candidates']}"
        f" candidates, for {found['usd']:,.0f} USD.\n"
        f"Mean round trip {found['rtt_ms_mean']:.2f} ms (from {low:.2f} to {high:.2f} as paths are"
        f" straight or crooked), {found['near_share']:.1%} of demand nearby,"
        f" {found['usd_per_mtoken']:.2f} USD per million tokens.\n"
        f"No choice is better than {report['bound']:,.4f} {report['unit']}; this one has"
        f" {report['cost']:,.4f}: gap {report['gap']:.4%}, by {proof}"
        f" ({report['seconds']:.1f} s).\n"
        f"Worst loss: {escape(printable(found['worst_loss']))}, {found['worst_loss_ms']:.2f} ms"
        f" more; the busiest site has {found['busiest_load']:.2f} of its planned load, after any"
        f" one loss {found['worst_loss_overload']:.2f}."
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _comparison(report: Found) -> Table:
    columns = ("choice", "over ours", "mean ms", "p95 ms", "nearby", "USD/Mtoken", "breaks")
    table = _table("By the model", *columns)
    for row in report["comparison"]:
        found = row["measures"]
        table.add_row(
            row["name"],
            "unserved demand" if row["cost_ratio"] is None else f"{row['cost_ratio']:.3f}",
            f"{found['rtt_ms_mean']:.2f}",
            f"{found['rtt_ms_p95']:.2f}",
            f"{found['near_share']:.1%}",
            f"{found['usd_per_mtoken']:.2f}",
            escape(printable(", ".join(row["broken"]))) or "-",
        )
    return table


def _judged(report: Found) -> Table:
    columns = ("choice", "engines", "TTFT p50 ms", "p95 ms", "kept objective", "GPUs needed")
    table = _table("By the simulator", *columns)
    for row in report["judged"]:
        table.add_row(
            row["name"],
            f"{row['engines']}",
            f"{row['ttft_ms_p50']:.0f}",
            f"{row['ttft_ms_p95']:.0f}",
            f"{row['goodput']:.1%}",
            f"{row['gpus_needed']}" if row["gpus_needed"] else "more than tried",
        )
    return table


def _front(report: Found) -> Table:
    columns = ("new sites", "mean ms", "nearby", "USD a year", "USD/Mtoken", "gap", "")
    table = _table("How many sites", *columns)
    for row in report["front"]:
        found = row["measures"]
        table.add_row(
            f"{row['new_sites']}",
            f"{found['rtt_ms_mean']:.2f}",
            f"{found['near_share']:.1%}",
            f"{found['usd_per_year']:,.0f}",
            f"{found['usd_per_mtoken']:.2f}",
            f"{row['gap']:.4%}",
            "dominated" if row["is_dominated"] else "",
        )
    return table


def _programme(report: Found) -> Table:
    columns = ("quarter", "sites", "USD", "saves ms", "mean ms", "nearby", "unserved", "which")
    table = _table("Programme", *columns)
    for row in report["programme"]:
        found, sites = row["measures"], row["sites"]
        more = f" and {len(sites) - 6} more" if len(sites) > 6 else ""
        table.add_row(
            row["quarter"],
            f"{len(sites)}",
            f"{row['usd']:,.0f}",
            f"{row['saved_ms']:.2f}",
            f"{found['rtt_ms_mean']:.2f}",
            f"{found['near_share']:.1%}",
            f"{found['unserved_share']:.1%}",
            escape(printable(", ".join(sites[:6]) + more)),
        )
    return table


def _tracked(report: Found) -> Table:
    columns = ("quarter", "planned", "installed", "planned ms", "actual ms", "late", "unplanned")
    table = _table("Plan and actual", *columns)
    for row in report["tracked"]:
        table.add_row(
            row["quarter"],
            f"{row['planned']}",
            f"{row['installed']}",
            *(
                "-" if row[name] is None else f"{row[name]:.2f}"
                for name in ("planned_ms", "actual_ms")
            ),
            escape(printable(", ".join(row["late"]))) or "-",
            escape(printable(", ".join(row["unplanned"]))) or "-",
        )
    return table
