"""``selvedge plan retrofit``: where GPUs go next, with a bound that says how good the choice is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from selvedge.cli.numbers import Number
from selvedge.cli.retrofit_words import show
from selvedge.cli.spinner import spinner

_FILE = click.Path(path_type=Path, dir_okay=False)
F = TypeVar("F", bound=Callable[..., None])


class _Servers(click.ParamType[int | str]):
    """A number, or `auto`."""

    name = "N|auto"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """As `Order.servers` has it."""
        text = str(value).strip()
        if text == "auto":
            return text
        if not text.isdigit() or not 1 <= int(text) <= 1000:
            words = f"{text!r} is neither a number of servers from 1 to 1,000 nor auto."
            self.fail(words, param, ctx)
        return int(text)


def _all(options: Sequence[Callable[[F], F]], command: F) -> F:
    """The last one first: click shows them in the order of a stack of decorators."""
    for option in reversed(options):
        command = option(command)
    return command


def _asked(command: F) -> F:
    """Who asks, and how far it is."""
    options = (
        click.option("--demand", type=_FILE, help="CSV: ingress, zone, requests_per_s (peak)."),
        click.option("--adoption", type=Number(0, 1), default=0.001, show_default=True,
                     help="Share of people who ask, without --demand."),
        click.option("--requests-per-day", type=Number(0, 1e6), default=10.0, show_default=True,
                     help="Of each of them."),
        click.option("--resident", multiple=True, metavar="ZONE=SHARE",
                     help="Share of a zone's demand that must be served in it: DE=0.3, eea=0.5."),
        click.option("--rtt", type=_FILE, help="CSV: from, to, rtt_ms. Measured pairs override."),
        click.option("--path-inflation", type=Number(1, 100), default=1.6, show_default=True,
                     help="Fibre path over the great circle, where nothing is measured."),
        click.option("--last-mile-ms", type=Number(0, 1e4), default=5.0, show_default=True,
                     help="Between users and their ingress."),
        click.option("--prompt-tokens", type=click.IntRange(1, 10**7), default=1000,
                     show_default=True, help="Of a request."),
        click.option("--output-tokens", type=click.IntRange(1, 10**7), default=250,
                     show_default=True, help="Of its answer."),
    )  # fmt: skip
    return _all(options, command)


def _ruled(command: F) -> F:
    """What may be installed, and what must hold."""
    options = (
        click.option("--server", default="l4-1u", show_default=True,
                     help="What is installed; a row of the table of servers."),
        click.option("--servers", type=_Servers(), default=1, show_default=True,
                     help="At each new site, where there is room; auto: as its demand needs."),
        click.option("--server-table", type=_FILE, help="Your own table, in the package's form."),
        click.option("--assume-room", is_flag=True,
                     help="Take limits that the fleet file does not give for met."),
        click.option("--budget-usd", type=Number(0, 1e12), help="For all new sites."),
        click.option("--site-usd", type=Number(0, 1e12), default=0.0, show_default=True,
                     help="What a new site costs beside its servers."),
        click.option("--minimum", multiple=True, metavar="PLACE=SITES",
                     help="Open sites that a place must have at least: DE=2, eea=3."),
        click.option("--survive-ms", type=Number(0, 1e4),
                     help="Two sites within this round trip, so that one may be lost."),
        click.option("--survive-share", type=Number(0, 1), default=0.9, show_default=True,
                     help="Of demand, held by the busiest ingresses, for which that must hold."),
        click.option("--capacity", is_flag=True,
                     help="Each site serves only what it has room for."),
        click.option("--survive-capacity", is_flag=True,
                     help="Room for all demand after the loss of any one site, in each zone;"
                     " --capacity with --survive-ms asks for it too."),
        click.option("--objective", type=click.Choice(["ttft", "near", "cost"]), default="ttft",
                     show_default=True, help="Mean time, share within --near-ms, or least cost."),
        click.option("--near-ms", type=Number(0, 1e4), default=20.0, show_default=True,
                     help="Round trip within which demand counts as nearby."),
    )  # fmt: skip
    return _all(options, command)


def _answered(command: F) -> F:
    """What is shown, and how long it may take."""
    options = (
        click.option("--front", metavar="K,K,...", help="Numbers of new sites to compare."),
        click.option("--front-budget", metavar="USD,USD,...",
                     help="Budgets to compare, each with its best choice: 1e6,2e6."),
        click.option("--front-server", metavar="NAME,NAME,...",
                     help="Servers to compare, each with its best choice."),
        click.option("--per-quarter", type=click.IntRange(1, 10**5), default=20, show_default=True,
                     help="Sites that can be installed in a quarter."),
        click.option("--start", default="2027Q1", show_default=True, help="Its first quarter."),
        click.option("--actual", type=_FILE,
                     help="CSV: pop, installed, not_before. What became of the plan."),
        click.option("--plan", "planned", type=_FILE,
                     help="The --json of an earlier answer, to hold --actual against."),
        click.option("--sim/--no-sim", default=True, show_default=True,
                     help="Judge the choices in the simulator: some minutes."),
        click.option("--sim-seeds", type=int,
                     help="Runs of each choice. [default: what takes two minutes, 3 to 10]"),
        click.option("--sim-slo-ms", type=Number(1, 1e6), default=1000.0, show_default=True,
                     help="In which 95 of 100 requests must have their first token."),
        click.option("--sim-knob", multiple=True, metavar="NAME=VALUE",
                     help="Of routing, in the simulator alone: crowd_us=0."),
        click.option("--seconds", type=Number(0, 86_400), default=60.0, show_default=True,
                     help="For the search and its proof."),
        click.option("--gap", type=Number(0, 1), default=0.0001, show_default=True,
                     help="At which the proof may stop, as a part of the bound."),
        click.option("--certificate", type=_FILE, help="Write the proof here."),
        click.option("--html", type=_FILE, help="Write the answer as one page."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )  # fmt: skip
    return _all(options, command)


@click.command()
@click.option("--fleet", type=_FILE, required=True, help="The fleet file: a row for each PoP.")
@click.option("--sites", type=click.IntRange(0, 100_000), required=True, help="New sites, at most.")
@_asked
@_ruled
@_answered
def retrofit(**options: object) -> None:
    """Choose the next sites for GPUs, and prove how good the choice is.

    Sites that have GPUs stay. The answer comes with a bound that no choice can beat, a programme by
    quarters, and what rules of thumb would have come to.
    """
    from selvedge.plan.placement import Order, answer  # noqa: PLC0415  # an extra

    order = msgspec.convert(options, Order)
    with spinner() as tell:
        report = answer(order, tell)
    if order.html is not None:
        from selvedge.plan.pages import write_retrofit  # noqa: PLC0415  # an extra

        write_retrofit(report, order.html)
    if order.as_json:
        click.echo(msgspec.json.encode(report).decode())
    else:
        show(msgspec.to_builtins(report))
