"""``selvedge plan demand``: the demand file of ``plan retrofit``, made from receipts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from selvedge.adapters import write_atomically
from selvedge.cli.demand_words import show
from selvedge.cli.home_option import collected_option, home_option, json_option
from selvedge.cli.spinner import spinner
from selvedge.cli.terminal import printable
from selvedge.cli.usage import Moment
from selvedge.control import Home, ask_with, observe_demand
from selvedge.fabric import Release, StoreFailed
from selvedge.ledger import DemandAsked
from selvedge.plan import (
    Counting,
    ObservedDemand,
    demand_classes,
    demand_csv,
    is_spelled_out,
    make_demand,
    map_zones,
    named,
    read_zones,
    zone_classes,
)

_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--since", type=Moment(), help="UTC day or time, included. Default: first receipt.")
@click.option("--until", type=Moment(), help="UTC day or time, not included. Default: the last.")
@click.option("--model", default=None, help="Of one model.")
@click.option("--tenant", default=None, help="Of one tenant.")
@click.option(
    "--busy-hour",
    type=click.Choice(["ingress", "fleet"]),
    default="ingress",
    show_default=True,
    help="Each ingress's own busiest hour of the day, or the one of all together.",
)
@click.option("--with-cached", is_flag=True, help="Count answers from the cache too.")
@click.option("--with-batch", is_flag=True, help="Count lines of batches too.")
@click.option(
    "--zone",
    "zones",
    multiple=True,
    metavar="CLASS=ZONE",
    help="What a zone of receipts is: world, EEA, DE+AT, or a jurisdiction of the fleet file."
    " Default: its countries, as the release says.",
)
@click.option("--fleet", type=_FILE, help="Hold ingresses and zones against this fleet file.")
@click.option("--out", type=_FILE, help="Write the file for `plan retrofit --demand` here.")
@collected_option
@home_option
@json_option
def demand(
    *,
    zones: tuple[str, ...],
    fleet: Path | None,
    out: Path | None,
    collected: tuple[Path, ...],
    home: Path,
    as_json: bool,
    **options: Any,  # which receipts, and what of them counts, as click checked them
) -> None:
    """Tell what clients asked of GPUs in the busy hour, by ingress and zone.

    From the receipts that PoPs wrote, answered or not: requests per second in the hour of the day
    that is the busiest on the mean of all days.
    """
    since, until = options["since"], options["until"]
    if since is not None and until is not None and since >= until:
        raise click.BadParameter("--since is not before --until")
    given, files = read_zones(zones), Home(home)
    release = files.release()
    wish = DemandAsked(time.time_ns() // 1000, since, until, options["tenant"], options["model"])
    with spinner() as tell:
        found = observe_demand(files, collected, ask_with(wish, release), tell)
    counting = Counting(options["busy_hour"], options["with_cached"], options["with_batch"])
    classes = demand_classes(found.tallies, counting)
    named = map_zones(classes, given, release, zone_classes(found.tallies))
    told = make_demand(found.window, found.tallies, named, counting)
    notes = (*told.notes, *_of_release(told, release, files), *_of_fleet(told, fleet))
    told = msgspec.structs.replace(told, notes=notes)
    if as_json:
        click.echo(printable(msgspec.json.encode(told).decode()))
    else:
        show(told)
    if out is not None:
        _write(out, demand_csv(told))
        if not as_json:
            click.echo(f"written to {printable(str(out))}")


def _of_release(told: ObservedDemand, release: Release | None, home: Home) -> Iterator[str]:
    if release is None:
        yield (
            f"there is no release under {home.directory}: models that third parties alone serve,"
            " policies and keys for some zones are not known, and all is counted"
        )
        return
    yield from _missing(told, {pop.id for pop in release.pops}, "the release")


def _missing(told: ObservedDemand, known: set[str], what: str) -> Iterator[str]:
    rates: dict[str, float] = {}
    for row in told.rows:
        if row.ingress not in known:
            rates[row.ingress] = rates.get(row.ingress, 0.0) + row.requests_per_s
    if rates:
        names = sorted(rates, key=lambda pop: -rates[pop])
        yield (
            f"{sum(rates.values()):.4g} requests/s came in at PoPs that {what} does not name:"
            f" {named(names)}; `plan retrofit` leaves out what is not in its"
            " fleet file"
        )


def _of_fleet(told: ObservedDemand, fleet: Path | None) -> Iterator[str]:
    """What the fleet file does not know. Raises `BadPlan` of a zone that means nothing there."""
    if fleet is None:
        for one in told.zones:
            if not is_spelled_out(one.zone):
                yield (
                    f"zone {one.zone!r} is taken for a jurisdiction of the fleet file; --fleet"
                    " checks that it is one"
                )
        return
    from selvedge.plan.history import read_sites  # noqa: PLC0415  # an extra
    from selvedge.plan.placement import zone_flags  # noqa: PLC0415  # an extra

    sites, _ = read_sites(fleet)
    yield from _missing(told, {site.pop for site in sites}, str(fleet))
    for one in told.zones:
        if not zone_flags(one.zone, sites, f"{fleet}, zone {one.zone!r}").any():
            words = f"no site of {fleet} lies in zone {one.zone!r}"
            yield f"{words}: its {one.requests_per_s:.4g} requests/s would be unserved"


def _write(path: Path, text: str) -> None:
    """Whole or not at all; a pipe or a device is written to, and stays. Raises `StoreFailed`."""
    path = path.resolve()
    if path.is_file() or not path.exists():
        write_atomically(path, text.encode())
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}") from error
