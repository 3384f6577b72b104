"""What a person reads: one table a part, and the bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.figures import bar
from bench.gateway.cases import Sample
from bench.gateway.crowd import STREAMS as CROWD
from bench.gateway.crowd import Crowd
from bench.gateway.found import Found
from bench.gateway.results import BARS, OTHERS_MAX, Figures, added, med, met, others, p99_limit
from bench.gateway.stages import beside_budget

US = 1000.0
STREAMS = ("sse", "sse_by_4", "itl", "paced")


NOTES = """\
What each does. direct: the mock itself, the headroom of load and mock. nginx: proxies, no more.
selvedge: checks the key, rule and allowed set, routes, writes an intent and a receipt for each
request, scans usage. portkey: checks no key. litellm: compares its master key; no database.
CPU is the target's own, of all its processes, as time for each answer and as share of core 0;
core 0 above that share is somebody else's work. Where core 1, load and mock, is busy and a target
is not, the target was not at its limit."""


def show(console: Console, found: Found) -> None:
    """Every table there is something for."""
    samples, figures = found.samples, found.figures
    cases = dict.fromkeys(one.case for one in samples)
    by_kind = {
        "Requests, closed loop": [one for one in cases if one.startswith("rps_")],
        "Streams": [one for one in cases if one in STREAMS],
    }
    for title, names in by_kind.items():
        if names:
            console.print(_loads(title, samples, names))
    opened = [one for one in cases if one.startswith("open_") and "_as_" not in one]
    if opened:
        console.print(_open(samples, opened))
    for key, words in (("cpu_us_per_request", "request"), ("cpu_us_per_chunk", "chunk")):
        if key in found.stages:
            rows = beside_budget(found.stages[key])
            show_stages(console, f"CPU of a {words} by stage", rows, key == "cpu_us_per_request")
    if found.crowds:
        console.print(_crowds(found.crowds))
    console.print(_bars(figures))
    console.print(NOTES)
    share = others(samples)
    if share > OTHERS_MAX:
        words = f"Others used {share:.0%} of core 0: not figures to be quoted; run it again alone."
        console.print(f"[red]{words}[/red]")


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in ("load", "target") else "right")
    return table


def _loads(title: str, samples: Sequence[Sample], cases: Sequence[str]) -> Table:
    streams = cases[0] in STREAMS
    columns = ["load", "target", "chunks/s" if streams else "requests/s"]
    columns += ["ttft p50 ms", "p99", "delay p50 ms", "p99"] if streams else ["p50 ms", "p99"]
    columns += ["CPU µs", "CPU", "core 0", "core 1", "errors"]
    table = _table(title, columns)
    timed = ("ttft_p50_us", "ttft_p99_us", "delay_p50_us", "delay_p99_us")
    keys = timed if streams else ("latency_p50_us", "latency_p99_us")
    rate, cpu = "rps", "cpu_us_per_request"
    if streams:
        rate, cpu = "chunks_per_s", "cpu_us_per_chunk"
    for case in cases:
        for target in dict.fromkeys(one.target for one in samples if one.case == case):

            def got(key: str, case: str = case, target: str = target) -> float:
                return med(samples, case, target, key) or 0.0

            shown_cpu = "" if target == "direct" else f"{got(cpu):,.1f}"
            table.add_row(
                case,
                target,
                f"{got(rate):,.0f}",
                *(f"{got(key) / US:,.3f}" for key in keys),
                shown_cpu,
                "" if target == "direct" else f"{got('server_cpu'):.0%}",
                f"{got('server_busy'):.0%}",
                f"{got('load_busy'):.0%}",
                f"{got('errors'):.0f}",
            )
    return table


def _open(samples: Sequence[Sample], cases: Sequence[str]) -> Table:
    columns = ["load", "target", "requests/s", "added p50 ms", "p99", "p99.9", "core 1", "errors"]
    table = _table("Constant rate: latency added to direct at the same rate", columns)
    for case in cases:
        for target in dict.fromkeys(one.target for one in samples if one.case == case):
            parts = [
                added(samples, case, target, f"latency_{part}_us", f"{case}_as_{target}")
                for part in ("p50", "p99", "p999")
            ]
            table.add_row(
                case,
                target,
                f"{med(samples, case, target, 'rps') or 0:,.0f}",
                *("" if one is None else f"{one / US:,.3f}" for one in parts),
                f"{med(samples, case, target, 'load_busy') or 0:.0%}",
                f"{med(samples, case, target, 'errors') or 0:.0f}",
            )
    return table


def _bars(figures: Figures) -> Table:
    table = _table("Figures", ("load", "value", "bar"))
    table.columns[0].header = "figure"
    table.columns[2].justify = "left"
    good = met(figures)
    for name, number in figures.items():
        words = ""
        if name in BARS:
            sign, limit = BARS[name]
            words = bar(good[name], f"{sign} {limit:g}")
        elif name in good:
            words = bar(good[name], f"<= {p99_limit(figures)} (1.6 x nginx's + 0.5)")
        table.add_row(name, f"{number:,.4g}" if number < 1000 else f"{number:,.0f}", words)
    return table


def show_stages(
    console: Console,
    title: str,
    rows: Mapping[str, tuple[float, float | None]],
    has_budget: bool,
) -> None:
    """CPU by stage, of a request beside the budget of the design."""
    table = _table(title, ("load", "µs", "budget µs") if has_budget else ("load", "µs"))
    table.columns[0].header = "stage"
    for stage, (us, budget) in rows.items():
        shown = ["" if budget is None else f"{budget:g}"] if has_budget else []
        table.add_row(stage, f"{us:.1f}", *shown)
    console.print(table)


def _crowds(crowds: Sequence[Crowd]) -> Table:
    columns = ["target", "errors", "chunks/s", "delay p50 ms", "p99", "CPU µs", "CPU"]
    columns += ["MB idle", "MB open", "kB a stream"]
    table = _table(f"{CROWD} streams at once, one chunk per 250 ms", columns)
    for one in crowds:
        table.add_row(
            one.target,
            str(one.errors),
            f"{one.chunks_per_s:,.0f}",
            f"{one.delay_p50_us / US:,.3f}",
            f"{one.delay_p99_us / US:,.3f}",
            f"{one.cpu_us_per_chunk:.1f}",
            f"{one.cpu_share:.0%}",
            f"{one.idle_bytes / 1e6:.1f}",
            f"{one.open_bytes / 1e6:.1f}",
            f"{one.kb_per_stream:.1f}",
        )
    return table
