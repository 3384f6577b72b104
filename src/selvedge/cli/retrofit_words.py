"""A retrofit's report for people."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from selvedge.cli.tables import console
from selvedge.cli.terminal import printable

_FULLEST = 8
_ANY_ROOM = 10_000
Found = dict[str, Any]  # JSON, whose fields are `plan.placement.Report`'s


def show(report: Found) -> None:
    """Print it: the answer, the proof, what others would do, the programme, what was assumed."""
    out = console()
    out.print(answer_words(report))
    if report["shortage"]:
        out.print(f"[bold red]{escape(printable(report['findings'][0]))}[/]")
        out.print(_loads(report))
    out.print(_comparison(report))
    if report["judged"]:
        out.print(_judged(report))
        for line in difference_words(report):
            out.print(line)
    if report["front"]:
        out.print(_front("How many sites", report["front"]))
    if report["front_budget"]:
        out.print(_front("How much money", report["front_budget"]))
        out.print(budget_chart(report["front_budget"]))
    if report["front_server"]:
        out.print(_servers(report["front_server"]))
    out.print(_programme(report))
    if report["tracked"]:
        out.print(_tracked(report))
    for words in report["findings"][1 if report["shortage"] else 0 :]:
        click.echo(f"note: {printable(words)}")


def answer_words(report: Found) -> str:
    """Three sentences: what, how good, how sure."""
    found, (low, high) = report["measures"], report["rtt_ms_band"]
    proof = {
        "certificate": "a certificate that anybody can check",
        "certificate with capacity": "a certificate that counts the room of each site",
    }[report["proof"]]
    beside = " (without the last mile)" if report["unit"] == "ms" else ""
    return (
        f"{found['new_sites']} new sites beside {report['existing']}, of {report['candidates']}"
        f" candidates, for {found['usd']:,.0f} USD.\n"
        f"Mean round trip {found['rtt_ms_mean']:.2f} ms (from {low:.2f} to {high:.2f} as paths are"
        f" straight or crooked), {found['near_share']:.1%} of demand nearby,"
        f" {found['usd_per_mtoken']:.2f} USD per million tokens.\n"
        f"No choice is better than {report['bound']:,.4f} {report['unit']}{beside}; this one has"
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


def _loads(report: Found) -> Table:
    columns = ("fullest sites", "of plan", "requests/s", "servers", "needed", "room")
    table = _table("", *columns)
    for row in report["loads"][:_FULLEST]:
        room = row["servers_room"]
        table.add_row(
            escape(printable(row["pop"])) + ("" if row["is_new"] else " (existing)"),
            f"{row['load']:.2f}",
            f"{row['requests_per_s']:.2f}",
            f"{row['servers']}",
            f"{row['servers_needed']}",
            "any" if room >= _ANY_ROOM else f"{room}",
        )
    return table


def _judged(report: Found) -> Table:
    first = report["judged"][0]
    columns = (
        *("choice", "round trip ms", "TTFT p50 ms", "p95 ms"),
        *(f"within {first['slo_ms']:g} ms", "GPUs needed"),
    )
    title = (
        f"By the simulator: {first['engines']} engines each, {_seeds(first['seeds'])},"
        " mean (95 % interval)"
    )
    table = _table(title, *columns)
    for row in report["judged"]:
        more = f", more in {row['gpus_short']}" if row["gpus_short"] else ""
        table.add_row(
            row["name"],
            _interval(row["rtt_ms"], 1),
            _interval(row["ttft_ms_p50"]),
            _interval(row["ttft_ms_p95"]),
            f"{row['goodput']['mean']:.1%}",
            _interval(row["gpus_needed"]) + more,
        )
    return table


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _interval(found: Found, places: int = 0) -> str:
    """One seed has none."""
    if found["low"] == found["high"]:
        return f"{found['mean']:.{places}f}"
    return f"{found['mean']:.{places}f} ({found['low']:.{places}f}–{found['high']:.{places}f})"


FIGURES = {"ttft_ms_p50": "TTFT p50", "ttft_ms_p95": "TTFT p95", "gpus_needed": "GPUs needed"}


def difference_words(report: Found) -> list[str]:
    """A line a rival: what is better, as far as so many seeds can show."""
    found = []
    for row in report["judged"][1:]:
        parts = []
        for one in row["against_ours"]:
            gap = one["theirs_less_ours"]
            unit = "" if one["figure"] == "gpus_needed" else " ms"
            parts.append(
                f"{FIGURES[one['figure']]} {one['verdict']} ({gap['mean']:+.0f}{unit}"
                + ("" if one["seeds"] == 1 else f", {gap['low']:+.0f} to {gap['high']:+.0f}")
                + ")"
            )
        found.append(f"{row['name']} less ours: {'; '.join(parts)}.")
    return found


def _front(title: str, points: list[Found]) -> Table:
    columns = (
        *("budget USD", "new sites", "mean ms", "nearby", "USD a year", "USD/Mtoken"),
        *("at best", "gap", ""),
    )
    has_money = points[0]["budget_usd"] is not None
    table = _table(title, *columns[0 if has_money else 1 :])
    for row in points:
        found = row["measures"]
        cells = (
            f"{row['budget_usd'] or 0:,.0f}",
            f"{row['new_sites']}",
            f"{found['rtt_ms_mean']:.2f}",
            f"{found['near_share']:.1%}",
            f"{found['usd_per_year']:,.0f}",
            f"{found['usd_per_mtoken']:.2f}",
            f"{row['bound']:,.4g} of {row['cost']:,.4g}",
            f"{row['gap']:.4%}",
            "dominated" if row["is_dominated"] else "",
        )
        table.add_row(*cells[0 if has_money else 1 :])
    return table


def _servers(points: list[Found]) -> Table:
    columns = ("server", "model", "new sites", "TTFT ms", "USD", "USD/Mtoken", "busiest", "gap", "")
    table = _table("Which server", *columns)
    for row in points:
        found = row["measures"]
        table.add_row(
            escape(printable(row["server"])),
            row["model"],
            f"{row['new_sites']}",
            f"{found['ttft_ms_mean']:.0f}",
            f"{found['usd']:,.0f}",
            f"{found['usd_per_mtoken']:.2f}",
            f"{found['busiest_load']:.2f}",
            f"{row['gap']:.4%}",
            "dominated" if row["is_dominated"] else "",
        )
    return table


def budget_chart(points: list[Found]) -> str:
    """Mean round trips by budget as bars of characters: the longest is 40."""
    most = max(row["measures"]["rtt_ms_mean"] for row in points) or 1.0
    lines = []
    for row in points:
        ms = row["measures"]["rtt_ms_mean"]
        bar = "█" * max(1, round(40 * ms / most))
        mark = " dominated" if row["is_dominated"] else ""
        lines.append(f"{row['budget_usd']:>14,.0f} USD {bar} {ms:.2f} ms{mark}")
    return "\n".join(lines)


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
