"""What was claimed, judged: supported, not supported, or not to be said, with figures and why.

A claim that is reckoned is *supported* where it holds in the middle and in four of five draws, *not
supported* where it fails in both, and else nothing can be said. One that is observed is judged
by a report of utilisation, and without one nothing can be said. With each goes the value that the
inputs which weigh most would need to have for it to turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from selvedge.plan.economics.fleets import units_at
from selvedge.plan.economics.inputs import limits_of
from selvedge.plan.economics.measures import (
    Case,
    Reckoned,
    margin_below,
    reckon,
    step_of,
    uplift_of,
    with_offer,
)
from selvedge.plan.economics.quantities import Quantity, Real, Values, middle
from selvedge.plan.economics.sensitivity import swings, turning_point
from selvedge.plan.economics.words import plain

Word = Literal["supported", "not supported", "cannot say"]
SURE: Final = 0.8
_TOLERANCE: Final = 0.01
"""Of a share that is said in whole percent."""
_TURNS: Final = 3


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """An input, what it is taken to be, and what it would have to be for the claim to turn."""

    input: str
    now: float
    needed: float | None
    """None: no value within its limits turns it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A claim, judged."""

    claim: str
    verdict: Word
    reading: str
    """What it was taken to mean."""
    why: str
    figures: dict[str, float]
    holds: float | None = None
    """Share of draws in which it holds; None: it is observed, not reckoned."""
    by_offer: dict[str, float] = {}
    """Share of draws in which it holds with another offer in the place of the fleet's."""
    turns: tuple[Turn, ...] = ()


class Judge:
    """Judges the claims of one case; keeps the draws."""

    def __init__(
        self,
        case: Case,
        quantities: Mapping[str, Quantity],
        drawn: Mapping[str, npt.NDArray[np.float64]],
    ) -> None:
        self._case = case
        self._quantities = quantities
        self._drawn = drawn
        self._centre = middle(quantities)

    def verdicts(self) -> list[Verdict]:
        """Every claim that the file makes."""
        claims = self._case.inputs.claims
        found = []
        if claims.night_use is not None or claims.pops is not None:
            found.append(self._night_use())
        if claims.gpu_uplift is not None:
            found.append(self._uplift(claims.gpu_uplift))
        if claims.below_least is not None and claims.below_most is not None:
            found.append(self._below(claims.below_least, claims.below_most))
        if claims.sites_now is not None and claims.sites_next is not None:
            found.append(self._sites(claims.sites_now, claims.sites_next))
        return found

    def _night_use(self) -> Verdict:
        claims, seen = self._case.inputs.claims, self._case.seen
        count, said = claims.pops, claims.night_use
        parts = [f"{count:,} PoPs"] if count is not None else []
        parts += [f"{said:.0%} average use at night"] if said is not None else []
        claim = ", ".join(parts)
        reading = "means over PoPs of their use from 23:00 to 04:00 local time, in a report"
        if seen is None:
            why = (
                "It is an observation, not a reckoning, and no report was given: name one by"
                " --utilisation. It would say how idle networks are; GPUs are bought new, and"
                " what idles at night is of use to them only as power and room."
            )
            return Verdict(claim=claim, verdict="cannot say", reading=reading, why=why, figures={})
        figures = {
            "PoPs with traffic": float(len(seen.pops)),
            "PoPs with a night": float(seen.night_known),
        }
        agrees = count is None or rounds_to(len(seen.pops), count)
        word: Word = "supported" if agrees else "not supported"
        why = f"The report has {len(seen.pops):,} PoPs with traffic"
        why += "." if word == "supported" else f", and not {count:,}."
        if seen.night_use is not None:
            figures["mean use at night"] = seen.night_use
            why += f" Their mean use at night is {seen.night_use:.1%}."
            if said is not None and abs(seen.night_use - said) > _TOLERANCE:
                word = "not supported"
        elif said is not None:
            word = "cannot say"
            why += " None of them has a local night: time zones are missing."
        return Verdict(claim=claim, verdict=word, reading=reading, why=why, figures=figures)

    def _uplift(self, said: float) -> Verdict:
        found = reckon(self._case, self._centre)
        sites = found.now.sites
        gpu, cpu = float(found.now.profit) / sites, float(found.cpu.profit)
        each = float(found.now.sold_mtokens) / sites
        gpu_full, cpu_full = self._filled(found)
        figures = {
            "profit of a site with GPUs, USD a year": gpu,
            "profit of the same site on free processors, USD a year": cpu,
            "use of its GPUs": float(found.now.use),
            "cost per million tokens with GPUs, USD": float(found.now.cost) / sites / each,
            "cost per million tokens on processors, USD": float(found.cpu.cost_per_mtoken),
            "first token on processors, s": float(found.cpu.first_token_s),
            "were demand to fill both: with GPUs, USD a year": gpu_full,
            "were demand to fill both: on processors, USD a year": cpu_full,
        }
        why = (
            f"A site earns {_dollars(gpu)} a year with GPUs at {float(found.now.use):.0%} use, and"
            f" {_dollars(cpu)} on processors that are there anyway and have room for"
            f" {float(found.cpu.sold_mtokens) / each:.0%} of the same demand. Were demand to fill"
            f" both, it would be {_dollars(gpu_full)} and {_dollars(cpu_full)}. Their first token"
            f" takes {float(found.cpu.first_token_s):.1f} s for a prompt of"
            f" {self._case.inputs.cpu.prompt_tokens:,} tokens: where that is too slow,"
            " processors are no alternative, whatever they earn."
        )
        return self._of_fleet(
            Verdict(
                claim=f"GPUs lift the margin by {said:.0%}",
                verdict="cannot say",
                reading=f"a site's profit with GPUs is {said:.0%} above that on processors alone"
                f" ({self._case.inputs.cpu.model} on those that are free)",
                why=why,
                figures=figures,
            ),
            lambda case, values: uplift_of(reckon(case, values)) - said,
            ("demand.tokens_per_day", "fleet.units_per_site"),
        )

    def _filled(self, found: Reckoned) -> tuple[float, float]:
        """Profit of a site with GPUs, and on processors, both as full as first tokens allow."""
        most = self._centre["demand.use_max"]
        name = self._case.inputs.fleet.offer
        gpus = found.units[name].profit(most) * units_at(name, self._centre)
        each = found.cpu.profit / found.cpu.sold_mtokens
        return float(np.asarray(gpus)), float(np.asarray(found.cpu.full_mtokens * most * each))

    def _sites(self, now: int, later: int) -> Verdict:
        found = reckon(self._case, self._centre)
        step = float(step_of(found))
        figures = {
            f"profit of {found.now.sites} sites, USD a year": float(found.now.profit),
            f"profit of {found.next.sites} sites, USD a year": float(found.next.profit),
            "use of GPUs before": float(found.now.use),
            "use of GPUs after": float(found.next.use),
            "break-even use": float(found.units[self._case.inputs.fleet.offer].break_even),
        }
        why = (
            f"{found.next.sites - found.now.sites} more sites change the year's profit by"
            f" {_dollars(step)}: they add"
            f" {float(found.next.sold_mtokens / found.now.sold_mtokens) - 1:.0%} of sold tokens and"
            f" {float(found.next.cost / found.now.cost) - 1:.0%} of cost. Law and latency may ask"
            " for them all the same: `selvedge plan retrofit` says what each buys."
        )
        return self._of_fleet(
            Verdict(
                claim=f"{now} sites with GPUs, then {later}",
                verdict="cannot say",
                reading=f"the sites from {now + 1} to {later} earn more than they cost",
                why=why,
                figures=figures,
            ),
            lambda case, values: step_of(reckon(case, values)),
            ("demand.tokens_per_day", "demand.local_share"),
        )

    def _below(self, least: float, most: float) -> Verdict:
        """Judged for each offer: a price is of a model, not of the fleet's GPUs."""
        case, centre = self._case, self._centre
        planned = float(np.asarray(centre["demand.use"]))
        vendors = case.inputs.pricing.vendors
        offers = [name for name, one in case.theirs.items() if set(one.vendors) <= set(vendors)]
        figures, holds, centred = {}, {}, []
        for name in offers:
            margin = float(np.asarray(margin_below(case, centre, name, most, planned)))
            figures[f"margin of {name}, {most:.0%} below"] = margin
            drawn = margin_below(case, self._drawn, name, most, self._drawn["demand.use"])
            holds[name] = float((np.asarray(drawn) >= 0).mean())
            centred.append(margin >= 0)
        word = _word(all(centred), min(holds.values(), default=0.5))
        if word != "supported":
            word = _word(any(centred), max(holds.values(), default=0.5))
            word = "cannot say" if word == "supported" else word
        good = [name for name in offers if holds[name] >= SURE]
        without = [one.id for one in case.inputs.offers if one.id not in offers]
        why = (
            f"At {planned:.0%} use, {most:.0%} below the lowest of {', '.join(vendors) or 'all'}:"
            f" it pays in four of five draws with {', '.join(good) or 'no offer'}, of"
            f" {len(offers)} offers that they publish a price of: it depends on model and GPU."
            " That hyperscalers can be undercut says nothing of others: see the gaps."
        )
        if without:
            why += f" They publish none of {', '.join(without)}."
        fleets = case.inputs.fleet.offer
        measured = fleets if fleets in offers else next(iter(offers), fleets)
        return Verdict(
            claim=f"Prices {least:.0%} to {most:.0%} below hyperscalers pay",
            verdict=word,
            reading=f"each offer has a margin above 0 at {most:.0%} below, at the use planned for",
            why=why,
            figures=figures,
            by_offer=holds,
            turns=self._turns(
                lambda values: margin_below(case, values, measured, most, values["demand.use"]),
                ("demand.use",),
            ),
        )

    def _of_fleet(
        self,
        draft: Verdict,
        measure: Callable[[Case, Values], Real],
        first: tuple[str, ...],
    ) -> Verdict:
        """Judge a figure of the fleet: it holds where it is not below zero."""
        at_centre = float(np.asarray(measure(self._case, self._centre))) >= 0
        shares = {
            one.id: self._share(with_offer(self._case, one.id), measure)
            for one in self._case.inputs.offers
        }
        holds = shares[self._case.inputs.fleet.offer]
        word = _word(at_centre, holds)
        why = draft.why
        if word == "cannot say":
            why += f" It holds in {holds:.0%} of draws: the inputs are too uncertain to say."
        turns = self._turns(lambda values: measure(self._case, values), first)
        why += _turn_words(turns[0])
        return msgspec.structs.replace(
            draft, verdict=word, why=why, holds=holds, by_offer=shares, turns=turns
        )

    def _share(self, case: Case, measure: Callable[[Case, Values], Real]) -> float:
        return float((np.asarray(measure(case, self._drawn)) >= 0).mean())

    def _turns(self, measure: Callable[[Values], Real], first: tuple[str, ...]) -> tuple[Turn, ...]:
        """Where the claim turns: of inputs that are asked for, then of those that weigh most."""

        def figure(values: Values) -> float:
            return float(np.asarray(measure(values)))

        widest = [swing.input for swing in swings(self._quantities, figure)]
        found = []
        for name in list(dict.fromkeys((*first, *widest)))[: len(first) + _TURNS]:
            least, most = limits_of(name)
            needed = turning_point(figure, self._centre, name, least, most)
            now = float(np.asarray(self._centre[name]))
            found.append(Turn(input=name, now=now, needed=needed))
        return tuple(found)


def _word(at_centre: bool, holds: float) -> Word:
    if at_centre and holds >= SURE:
        return "supported"
    return "not supported" if not at_centre and holds <= 1 - SURE else "cannot say"


def _turn_words(turn: Turn) -> str:
    """Of the input that is asked for first."""
    if turn.needed is None:
        return f" No {turn.input} within its limits turns it."
    return f" It turns at {turn.input} of {plain(turn.needed)}, where {plain(turn.now)} is assumed."


def _dollars(amount: float) -> str:
    return f"{'-' if amount < 0 else ''}${abs(amount):,.0f}"


def rounds_to(found: int, said: int) -> bool:
    """Whether a count is what was said, as roughly as that was said: 4,100 may be 4,099.

    >>> rounds_to(4099, 4100), rounds_to(4049, 4100), rounds_to(88, 87)
    (True, False, False)
    """
    unit = 1
    while said and said % (10 * unit) == 0:
        unit *= 10
    return 2 * abs(found - said) <= unit
