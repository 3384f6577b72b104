"""An economics answer as tables of words."""

from __future__ import annotations

from typing import Final

from selvedge.plan.economics.answers import Economics, PlaceRow
from selvedge.plan.economics.verdicts import Verdict
from selvedge.plan.economics.words import below_or_above, figure, money, plain, share
from selvedge.plan.fit import Sheet

PLACES_SHOWN: Final = 20


def sheets_of(found: Economics) -> list[Sheet]:
    """All of them, in the order in which they are read."""
    return [
        _verdicts(found),
        _turns(found),
        _offers(found),
        _fleet(found),
        _places(found),
        _gaps(found),
        _night(found),
        _promise(found),
        _renewals(found),
        _intervals(found),
        _tornado(found),
        _notes(found),
    ]


def _verdicts(found: Economics) -> Sheet:
    rows = tuple(
        (one.claim, one.verdict.upper(), share(one.holds), one.reading) for one in found.verdicts
    )
    notes = []
    for one in found.verdicts:
        notes.append(f"- {one.claim}: {one.why}")
        figures = "; ".join(f"{name} {_figure(name, value)}" for name, value in one.figures.items())
        notes += [f"  {figures}"] if figures else []
        notes += [f"  {_by_offer(one)}"] if one.by_offer else []
    return Sheet(
        title="Verdicts",
        columns=("claim", "verdict", ">holds in", "taken to mean"),
        rows=rows,
        notes=tuple(notes),
    )


def _figure(name: str, value: float) -> str:
    if "USD" in name:
        return money(value)
    if "PoPs" in name:
        return f"{value:,.0f}"
    return f"{value:.1f}" if name.endswith(", s") else f"{value:.1%}"


def _by_offer(one: Verdict) -> str:
    shares = ", ".join(f"{name} {value:.0%}" for name, value in one.by_offer.items())
    return f"share of draws in which it holds, by offer: {shares}"


def _turns(found: Economics) -> Sheet:
    rows = tuple(
        (one.claim, turn.input, plain(turn.now), "-" if turn.needed is None else plain(turn.needed))
        for one in found.verdicts
        for turn in one.turns
    )
    return Sheet(
        title="What an input would have to be for a verdict's reckoning to turn",
        columns=("claim", "input", ">taken as", ">turns at"),
        rows=rows,
        notes=("each alone, the others as they are; -: at no value within its limits",),
    )


def _offers(found: Economics) -> Sheet:
    rows = tuple(
        (
            *(
                row.offer,
                f"{row.gpus} x {row.gpu}",
                plain(row.units_per_site),
                row.grade,
                f"{row.tokens_per_s:,.0f}",
            ),
            *(_price(row.input_micro_dollars), _price(row.output_micro_dollars), row.price_basis),
            *(money(row.capital), money(row.fixed), money(row.earned_at_full_use)),
            *(share(row.break_even_use), share(row.margin), money(row.cost_per_mtoken)),
            plain(row.break_even_tokens_per_day),
        )
        for row in found.offers
    )
    use = share(found.offers[0].use)
    return Sheet(
        title="Offers: a group of GPUs with its model, by the year",
        columns=(
            *("offer", "gpus", ">a site", "grade", ">tokens/s", ">in", ">out", "price", ">capital"),
            *(">fixed cost", ">earns when full", ">break-even", ">margin", ">cost/Mtoken"),
            ">tokens a day for all sites",
        ),
        rows=rows,
        notes=(
            f"prices by million tokens; margin and cost at a mean use of {use}",
            "tokens a day for all sites: of prompts and answers, at which all planned break even",
        ),
    )


def _price(micro_dollars: int) -> str:
    return f"${micro_dollars / 1_000_000:.4f}"


def _fleet(found: Economics) -> Sheet:
    rows = tuple(
        (
            *(str(row.sites), share(row.use), f"{row.sold_mtokens:,.0f}", money(row.revenue)),
            *(money(row.cost), money(row.profit)),
        )
        for row in found.years
    )
    cpu = found.processors
    return Sheet(
        title="The fleet, by the year",
        columns=(">sites", ">use", ">million tokens", ">revenue", ">cost", ">profit"),
        rows=rows,
        notes=(
            f"on free processors alone a PoP would earn {money(cpu['profit'])} at"
            f" {money(cpu['cost_per_mtoken'])} a million tokens; first token after"
            f" {cpu['first_token_s']:.1f} s",
        ),
    )


def _places(found: Economics) -> Sheet:
    """The fleet's offer where it does best; of all offers, at how many places they pay."""
    fleets = [row for row in found.places if row.offer == found.fleet_offer]
    shown = sorted(fleets, key=lambda row: (_rank(row), row.place))[:PLACES_SHOWN]
    notes = []
    for offer in dict.fromkeys(row.offer for row in found.places):
        margins = [row.margin for row in found.places if row.offer == offer]
        paying = sum(one is not None and one >= 0 for one in margins)
        least, most = (pick(one for one in margins if one is not None) for pick in (min, max))
        words = f"pays at {paying} of {len(margins)} places, margin {share(least)} to {share(most)}"
        notes.append(f"{offer}: {words}")
    return Sheet(
        title=f"By place: {found.fleet_offer} at the {len(shown)} best of {len(fleets)}"
        " (all places and offers: --json)",
        columns=(
            *("place", "country", "offer", ">$/kWh", ">use", ">revenue", ">cost", ">margin"),
            *(">break-even", ">free in 95 %"),
        ),
        rows=tuple(_place(row) for row in shown),
        notes=tuple(notes),
    )


def _rank(row: PlaceRow) -> float:
    return 1e9 if row.margin is None else -row.margin


def _place(row: PlaceRow) -> tuple[str, ...]:
    return (
        *(row.place, row.country, row.offer, f"{row.usd_per_kwh:.3f}", share(row.use)),
        *(money(row.revenue), money(row.cost), share(row.margin), share(row.break_even_use)),
        share(row.headroom_95),
    )


def _gaps(found: Economics) -> Sheet:
    rows = tuple(
        (
            *(one.ours.model, one.theirs.vendor, one.theirs.as_of),
            *(_price(one.ours.input), _price(one.theirs.input), below_or_above(one.input_ppm)),
            *(_price(one.ours.output), _price(one.theirs.output), below_or_above(one.output_ppm)),
            below_or_above(one.mix_ppm),
        )
        for one in found.gaps
    )
    return Sheet(
        title="Gap to hosted APIs: ours against theirs, by million tokens",
        columns=(
            *("model", "vendor", "as of", ">our in", ">their in", ">gap"),
            *(">our out", ">their out", ">gap", ">gap of the mix"),
        ),
        rows=rows,
    )


def _night(found: Economics) -> Sheet:
    one = found.night
    rows = (
        ("clears the night: all free GPUs would be asked for", share(one["clearing"])),
        ("pays for power alone", f"{one['floor']:.1%}"),
        ("earns most, day and night together", share(one["best"])),
    )
    use = f"use of GPUs at night: {one['use_at_list']:.0%} at the list price"
    words = "no discount pays at this elasticity" if one["best"] >= 1 else "a discount pays"
    return Sheet(
        title="Price at night, as a share of the list price",
        columns=("price that", ">of list"),
        rows=rows,
        notes=(
            f"{use}, {one['use_at_best']:.0%} at the price that earns most",
            f"{words}: {money(one['gain'])} a year more than at the list price",
            "content's own idle hours do not enter: it uses no GPUs",
        ),
    )


def _promise(found: Economics) -> Sheet:
    one = found.promise
    rows = (
        ("availability, mean month", f"{one.mean_availability:.4%}"),
        ("availability, the worst of a hundred months", f"{one.worst_percentile:.3%}"),
        ("months with a credit", f"{one.months_missed:.2%}"),
        ("credits, of charges", f"{one.credit_share:.3%}"),
        ("fee that pays for them, a month", money(one.fee_needed_usd)),
        ("the same, were no outage hidden by another site", money(one.fee_needed_alone_usd)),
        ("the fee that is asked for", money(one.fee_usd)),
        ("the needed fee on the price of a million tokens", money(one.fee_per_mtoken)),
    )
    return Sheet(
        title="Service level: fee against token price", columns=("figure", ">value"), rows=rows
    )


def _renewals(found: Economics) -> Sheet:
    one = found.renewals
    years = zip(one["content_usd"], one["inference_usd"], one["gross_profit_usd"], strict=True)
    rows = tuple(
        (str(number), *(money(each) for each in row)) for number, row in enumerate(years, 1)
    )
    needed = one["attach_needed"]
    words = f"{needed:.0%}" if needed <= 1 else "more than all: attaching alone does not do it"
    words = words if needed > 0 else "none, it is met without"
    return Sheet(
        title="Renewals",
        columns=("year", ">content", ">inference", ">its gross profit"),
        rows=rows,
        notes=(
            f"net revenue retention {one['retention_without']:.1%} without inference,"
            f" {one['retention_with']:.1%} with it; attach rate for the target: {words}",
        ),
    )


def _intervals(found: Economics) -> Sheet:
    rows = tuple(
        (
            one.name,
            *(figure(one.name, value) for value in (one.middle, one.p05, one.p50, one.p95)),
            share(one.above_zero),
        )
        for one in found.intervals
    )
    return Sheet(
        title=f"Intervals: {found.draws:,} draws of all inputs (seed {found.seed})",
        columns=("figure", ">middle", ">5 %", ">50 %", ">95 %", ">above 0"),
        rows=rows,
    )


def _tornado(found: Economics) -> Sheet:
    rows = tuple(
        (
            *(one.input, plain(one.low), plain(one.high)),
            *(figure(found.tornado_of, end) for end in (one.at_low, one.at_high)),
        )
        for one in found.tornado[:12]
    )
    middle = figure(found.tornado_of, found.tornado_middle)
    return Sheet(
        title=f"Sensitivity: {found.tornado_of}, {middle} in the middle",
        columns=("input", ">low", ">high", ">at low", ">at high"),
        rows=rows,
    )


def _notes(found: Economics) -> Sheet:
    own = [name for name, one in found.inputs.items() if _is_own(one.source)]
    title = f"Notes: {len(own)} of {len(found.inputs)} inputs are assumptions of the file's own"
    return Sheet(title=title, columns=(), rows=(), notes=tuple(f"- {one}" for one in found.notes))


def _is_own(source: str) -> bool:
    return not source or source.startswith("own")
