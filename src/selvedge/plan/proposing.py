"""A rule, "stay 7-12 % below them", turned into prices, with the margin that each leaves.

Where ours lies in the band already it stays. Else it moves to the nearest edge, rounded to a step
inside the band; a model that has no price yet gets the dearest that the rule allows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters import one_line, read_amount, read_yaml
from selvedge.fabric import SelvedgeError
from selvedge.ledger import PPM
from selvedge.plan.comparison import THREE_TO_ONE, Mix, Ours
from selvedge.plan.published import Market, Published

_PERCENT: Final = r"([0-9]{1,2}(?:\.[0-9]{1,4})?)\s*%?"
_RULE: Final = re.compile(rf"{_PERCENT}\s*-\s*{_PERCENT}")
_COSTS_BYTES_MAX: Final = 1024 * 1024


class Rule(msgspec.Struct, frozen=True):
    """How far below the lowest of some vendors: parts per million of their price."""

    least_ppm: int
    most_ppm: int
    vendors: tuple[str, ...] = ()
    """Empty: all of them."""
    step: int = 1_000
    """Prices are multiples of so many micro-dollars where the band has one."""


class Cost(msgspec.Struct, frozen=True):
    """What a million tokens cost us."""

    input: int
    output: int


class Proposed(msgspec.Struct, frozen=True):
    """The prices of one model by the rule, and what they leave."""

    model: str
    input: int
    output: int
    below: str
    """Whose prices set the band: ``vendor`` of the input and of the output."""
    input_from: int | None
    """What we ask now; None: nothing."""
    output_from: int | None
    cost: Cost | None = None
    margin_ppm: int | None = None
    """Of the mix; None: no cost was given."""

    below_cost: tuple[str, ...] = ()
    """``input``, ``output``: whose own price is less than its cost, whatever the mix leaves."""

    @property
    def changes(self) -> bool:
        """Whether it is another price than ours."""
        return (self.input, self.output) != (self.input_from, self.output_from)


def read_rule(text: str, vendors: Collection[str], step: int = 1_000) -> Rule:
    """``7-12`` -> a rule. Raises `SelvedgeError`."""
    found = _RULE.fullmatch(text.strip())
    bounds = [_percent(part) for part in found.groups()] if found else [1, 0]
    if bounds[0] > bounds[1]:
        raise SelvedgeError(f"--by: {text!r} is not a band in percent, the smaller first, as 7-12")
    return Rule(bounds[0], bounds[1], tuple(vendors), max(1, step))


def _percent(text: str) -> int:
    whole, _, part = text.partition(".")
    return int(whole) * 10_000 + int(part.ljust(4, "0") or 0)


def propose(
    ours: Iterable[Ours],
    market: Market,
    rule: Rule,
    costs: Mapping[str, Cost],
    mix: Mix = THREE_TO_ONE,
) -> tuple[tuple[Proposed, ...], tuple[str, ...]]:
    """A proposal for each model that they publish a price of; and the models that they do not.

    Models are ours, and those that ``costs`` name. Raises `SelvedgeError` of an unknown vendor.
    """
    sold = {one.model: one for one in ours}
    known = {row.vendor for row in market.rows}
    for vendor in rule.vendors:
        if vendor not in known:
            raise SelvedgeError(f"--below: no prices of {vendor!r}; of {', '.join(sorted(known))}")
    found: list[Proposed] = []
    alone: list[str] = []
    for model in dict.fromkeys((*sold, *costs)):
        rows = [one for one in market.of(model) if not rule.vendors or one.vendor in rule.vendors]
        if rows:
            found.append(_proposed(model, sold.get(model), rows, rule, (costs.get(model), mix)))
        else:
            alone.append(model)
    return tuple(found), tuple(alone)


def _proposed(
    model: str,
    ours: Ours | None,
    rows: list[Published],
    rule: Rule,
    money: tuple[Cost | None, Mix],
) -> Proposed:
    lowest_in = min(rows, key=lambda row: row.input)
    lowest_out = min(rows, key=lambda row: row.output)
    input_ = _in_band(lowest_in.input, ours.input if ours else None, rule)
    output = _in_band(lowest_out.output, ours.output if ours else None, rule)
    vendors = dict.fromkeys((lowest_in.vendor, lowest_out.vendor))
    cost, mix = money
    return Proposed(
        model=model,
        input=input_,
        output=output,
        below=", ".join(vendors),
        input_from=ours.input if ours else None,
        output_from=ours.output if ours else None,
        cost=cost,
        margin_ppm=_margin(input_, output, cost, mix) if cost is not None else None,
        below_cost=_below_cost(input_, output, cost) if cost is not None else (),
    )


def _in_band(theirs: int, ours: int | None, rule: Rule) -> int:
    """The price in the band that is nearest to ours; the dearest where we have none."""
    low = -(-theirs * (PPM - rule.most_ppm) // PPM)
    high = theirs * (PPM - rule.least_ppm) // PPM
    if high < low:  # a price so small that no whole one lies between
        return high
    if ours is not None and low <= ours <= high:
        return ours
    if ours is not None and ours < low:
        rounded = -(-low // rule.step) * rule.step
        return rounded if rounded <= high else low
    rounded = high // rule.step * rule.step
    return rounded if rounded >= low else high


def _margin(input_: int, output: int, cost: Cost, mix: Mix) -> int | None:
    """What is left of the price of the mix, in parts per million of it, rounded down."""
    price = mix.blend(input_, output)
    return (price - mix.blend(cost.input, cost.output)) * PPM // price if price else None


def _below_cost(input_: int, output: int, cost: Cost) -> tuple[str, ...]:
    pairs = {"input": (input_, cost.input), "output": (output, cost.output)}
    return tuple(name for name, (price, own) in pairs.items() if price < own)


def read_costs(path: Path) -> dict[str, Cost]:
    """``model: {input: $0.02, output: $0.05}`` per million tokens. Raises `SelvedgeError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_COSTS_BYTES_MAX)
        found = read_yaml(data.decode("utf-8"))
    except OSError as error:
        raise SelvedgeError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SelvedgeError(f"{path} is not UTF-8 at byte {error.start}") from error
    except YAMLError as error:
        raise SelvedgeError(f"{path}: {one_line(error)}") from error
    if not isinstance(found, dict) or not found:
        raise SelvedgeError(f"{path}: give a model a cost, as 'm: {{input: $0.02, output: $0}}'")
    return {str(model): _cost(f"{path}: {model}", one) for model, one in found.items()}


def _cost(where: str, written: object) -> Cost:
    if not isinstance(written, dict) or set(written) != {"input", "output"}:
        raise SelvedgeError(f"{where}: a cost has an 'input' and an 'output', and nothing else")
    return Cost(
        read_amount(f"{where}.input", written["input"]),
        read_amount(f"{where}.output", written["output"]),
    )


def read_cost(text: str) -> tuple[str, Cost]:
    """``model=0.02/0.05``, dollars per million tokens in and out. Raises `SelvedgeError`."""
    model, _, prices = text.rpartition("=")
    parts = [part.removeprefix("$") for part in prices.split("/")]
    if not model or len(parts) != 2:
        raise SelvedgeError(f"--cost: {text!r} is not MODEL=IN/OUT in dollars, as m=0.02/0.05")
    amounts = [read_amount(f"--cost {model}", f"${part}") for part in parts]
    return model, Cost(*amounts)
