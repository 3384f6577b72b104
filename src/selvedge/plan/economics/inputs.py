"""The file of an economics question: what things cost, what is asked for, what is promised.

YAML, strict: an unknown key stops, and each number is checked against its limits by its dotted
name. Shares are 0 to 1, money is US dollars, and a number may carry its range and source.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters import read_yaml
from selvedge.fabric import COUNTRIES
from selvedge.plan.economics.quantities import Number, Quantity, fault_of, quantity
from selvedge.plan.economics.spelling import spelled
from selvedge.plan.fit import find_gpu
from selvedge.plan.history import BadPlan
from selvedge.sim import HARDWARE

_BYTES_MAX: Final = 1024 * 1024
_SHOWN: Final = 20


class Capital(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What hardware costs beyond the GPU's own price, and how it is paid off."""

    depreciation_years: Number
    cost_of_capital: Number
    server_share: Number
    """Server, network, spares and mounting, as a share of the GPUs' price."""
    residual_share: Number = 0.0
    upkeep_share: Number = 0.0
    """Of the capital, each year: maintenance, hands, software."""


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Electricity of a site."""

    pue: Number
    usd_per_kwh: Number
    """Where a country has no price of its own."""
    idle_share: Number
    """Of a GPU's watts while it waits; ``busy_share`` while it serves."""
    busy_share: Number
    host_watts: Number
    """Of the server, per GPU."""
    by_country: dict[str, float] = {}


class Space(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Room in a rack, by the power that it is let for."""

    usd_per_kw_month: Number


class Demand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked for, in all: tokens of prompts and answers, each day."""

    tokens_per_day: Number
    input_per_output: Number
    """Tokens of prompts for each of an answer."""
    reuse_share: Number
    """Of prompts' tokens, found in memory and not computed again."""
    local_share: Number
    """Of demand, that only a site where it enters may serve (law, or latency)."""
    concentration: Number
    """How demand falls with a PoP's rank: its power (Zipf). A report goes before it."""
    use_max: Number
    """Of full load, that keeps first tokens quick."""
    use: Number
    """Mean use of a GPU that is planned for, to compare offers."""
    sustained_share: Number
    """Of the speed of a preset of the simulator, what uneven requests leave over hours."""


class Night(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hours after dark: what content leaves free, and what price would fill it."""

    hours: Number
    demand_of_mean: Number
    """Demand for inference at night, as a share of its mean hour, at the same price."""
    elasticity: Number
    """Percent of demand more for each percent of price less."""
    shifted_share: Number
    """Of what is won at night, taken from our own day."""


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Speed of an offer, one of three: total at the file's mix, or each kind alone."""

    tokens_per_s: Number | None = None
    """Prompts and answers together, at the file's mix."""
    prefill_per_s: Number | None = None
    decode_per_s: Number | None = None


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Micro-dollars per million tokens."""

    input: int
    output: int


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model on GPUs that share it."""

    id: str
    model: str
    """As the price book and the table of list prices name it."""
    gpu: str
    gpus: int = 1
    hardware: str | None = None
    """Of the simulator's presets, by name; else ``rates``."""
    rates: Rates | None = None
    context_tokens: int = 2000
    """Of an answer under way, on average."""
    price: Price | None = None
    source: str = ""
    gpu_price_usd: Number | None = None
    units_per_site: Number | None = None
    """Groups of it at a site; None: as many as of the fleet's."""


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where GPUs are, and where they are to be."""

    offer: str
    units_per_site: Number
    pops: int
    candidates: int
    sites_now: int
    sites_next: int


class Processors(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same demand on processors that idle anyway: bought already, power alone is paid."""

    model: str
    cores_per_pop: Number
    """Free at a PoP."""
    prefill_per_s: Number
    """Of one core; ``decode_per_s`` too."""
    decode_per_s: Number
    watts_per_core: Number
    prompt_tokens: int = 1500
    """Of a typical prompt: for how long its first token takes."""


class Pricing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where we stand beside others, for models that the book has no price of."""

    below: Number
    vendors: tuple[str, ...] = ()


class CreditStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Below this availability, this share of the month's charges."""

    below: float
    credit: float


class Promise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A service level, and how often it fails."""

    outages_per_year: Number
    outage_minutes: Number
    """Median of one that a customer would see."""
    outage_sigma: Number
    """Of its logarithm: 0 all alike, 1.2 some ten times longer."""
    masked_share: Number
    """Of outages that another site hides."""
    charges_usd_month: Number
    tokens_per_month: Number
    fee_usd_month: Number
    credits: tuple[CreditStep, ...]


class Renewals(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Contracts for content that are renewed, and inference sold with them."""

    revenue_usd_year: Number
    churn: Number
    contraction: Number
    expansion: Number
    attach_rate: Number
    """Of contracts at renewal that take inference with them."""
    attach_spend: Number
    """Spent on inference by those, as a share of what they spend on content."""
    gross_margin: Number
    """Of inference."""
    target_retention: float
    years: int = 3


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was said, to be judged."""

    pops: int | None = None
    night_use: float | None = None
    gpu_uplift: float | None = None
    below_least: float | None = None
    below_most: float | None = None
    sites_now: int | None = None
    sites_next: int | None = None


class Inputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it."""

    title: str
    as_of: str
    capital: Capital
    power: Power
    space: Space
    demand: Demand
    night: Night
    offers: tuple[Offer, ...]
    fleet: Fleet
    cpu: Processors
    pricing: Pricing
    promise: Promise
    renewals: Renewals
    claims: Claims = Claims()

    def offer(self, name: str) -> Offer:
        """One by its id."""
        return next(one for one in self.offers if one.id == name)


_SHARE: Final = (0.0, 1.0)
_BELOW_MOST: Final = 0.99
"""Below others' prices: what is free has no margin."""
_SITES_MOST: Final = 10**7
LIMITS: Final[dict[str, tuple[float, float]]] = {
    "capital.depreciation_years": (1.0, 20.0),
    "capital.cost_of_capital": (1e-4, 1.0),
    "capital.server_share": (0.0, 5.0),
    "power.pue": (1.0, 4.0),
    "power.usd_per_kwh": (0.0, 5.0),
    "power.host_watts": (0.0, 5000.0),
    "space.usd_per_kw_month": (0.0, 5000.0),
    "demand.tokens_per_day": (1.0, 1e18),
    "demand.input_per_output": (0.0, 1000.0),
    "demand.concentration": (0.0, 3.0),
    "demand.use_max": (0.01, 1.0),
    "demand.use": (0.001, 1.0),
    "demand.sustained_share": (0.01, 1.0),
    "night.hours": (0.5, 24.0),
    "night.demand_of_mean": (0.0, 10.0),
    "night.elasticity": (0.0, 20.0),
    "fleet.units_per_site": (0.01, 10_000.0),
    "cpu.cores_per_pop": (0.01, 100_000.0),
    "cpu.prefill_per_s": (1e-6, 1e6),
    "cpu.decode_per_s": (1e-6, 1e6),
    "cpu.watts_per_core": (0.0, 100.0),
    "pricing.below": (0.0, _BELOW_MOST),
    "promise.outages_per_year": (0.0, 1000.0),
    "promise.outage_minutes": (0.001, 100_000.0),
    "promise.outage_sigma": (0.0, 5.0),
    "promise.charges_usd_month": (0.0, 1e12),
    "promise.tokens_per_month": (1.0, 1e18),
    "promise.fee_usd_month": (0.0, 1e12),
    "renewals.revenue_usd_year": (0.0, 1e13),
    "renewals.churn": (0.0, 0.99),
    "renewals.expansion": (0.0, 10.0),
    "renewals.attach_spend": (1e-4, 10.0),
}
"""From and to, by name; a share, 0 to 1, where a name is not here."""
_OFFER_LIMITS: Final[dict[str, tuple[float, float]]] = {
    "gpu_price_usd": (0.0, 1e7),
    "units_per_site": (0.01, 10_000.0),
}
_RATE_LIMITS: Final = (1e-3, 1e9)


def seed_path() -> Path:
    """The shipped example."""
    return Path(str(resources.files("selvedge.plan.economics").joinpath("seed.yaml")))


def read_inputs(path: Path) -> Inputs:
    """Read and check a file. Raises `BadPlan`, naming file, field, limit and remedy."""
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            raise BadPlan(f"{path} exceeds {_BYTES_MAX} bytes; it is no file of inputs.")
        found = read_yaml(data.decode("utf-8"))
        inputs = msgspec.convert(found, Inputs)
    except OSError as error:
        raise BadPlan(
            f"{path} cannot be read ({error.strerror}); name a file of inputs."
        ) from error
    except UnicodeDecodeError as error:
        raise BadPlan(f"{path} is not UTF-8 at byte {error.start}; save it as such.") from error
    except (YAMLError, msgspec.ValidationError) as error:
        words = f"{spelled(error, _fields())}; `selvedge plan economics --example` shows each"
        raise BadPlan(f"{path}: {words}.") from error
    _check(path, inputs)
    return inputs


def _fields() -> set[str]:
    """The names of all fields of all sections."""
    parts = (Capital, Power, Space, Demand, Night, Offer, Rates, Price, Fleet, Processors, Pricing)
    others = (Promise, CreditStep, Renewals, Claims, Inputs, Quantity)
    return {name for part in (*parts, *others) for name in part.__struct_fields__}


def quantities_of(inputs: Inputs) -> dict[str, Quantity]:
    """Every number that has, or may have, a range, by its dotted name."""
    found = {}
    for section in inputs.__struct_fields__:
        part = getattr(inputs, section)
        if isinstance(part, msgspec.Struct) and not isinstance(part, Claims):
            for name in part.__struct_fields__:
                written = getattr(part, name)
                if isinstance(written, Quantity | float) and name != "target_retention":
                    found[f"{section}.{name}"] = quantity(written)
    for offer in inputs.offers:
        rates = offer.rates or Rates()
        numbers = {name: getattr(rates, name) for name in rates.__struct_fields__}
        numbers["gpu_price_usd"] = offer.gpu_price_usd
        numbers["units_per_site"] = offer.units_per_site
        for name, written in numbers.items():
            if written is not None:
                found[f"offers.{offer.id}.{name}"] = quantity(written)
    return found


def limits_of(name: str) -> tuple[float, float]:
    """From and to, of a number by its dotted name."""
    if name.startswith("offers."):
        return _OFFER_LIMITS.get(name.rpartition(".")[2], _RATE_LIMITS)
    return LIMITS.get(name, _SHARE)


def _check(path: Path, inputs: Inputs) -> None:
    for name, one in quantities_of(inputs).items():
        words = fault_of(one, *limits_of(name))
        if words is not None:
            raise BadPlan(f"{path}: {name}: {words}.")
    for field, words in _faults(inputs):
        raise BadPlan(f"{path}: {field}: {words}.")


def _faults(inputs: Inputs) -> list[tuple[str, str]]:
    """What does not hang together, the first of it first."""
    found = []
    ids = [offer.id for offer in inputs.offers]
    if not ids:
        found.append(("offers", "there is none; give at least one"))
    found += [("offers", f"{one!r} is there twice") for one in set(ids) if ids.count(one) > 1]
    if ids and inputs.fleet.offer not in ids:
        found.append(("fleet.offer", f"{inputs.fleet.offer!r} is none of {', '.join(ids)}"))
    for offer in inputs.offers:
        found += [(f"offers.{offer.id}.{name}", words) for name, words in _offer_faults(offer)]
    fleet = inputs.fleet
    if not 1 <= fleet.sites_now <= fleet.sites_next <= fleet.candidates <= fleet.pops:
        words = "sites_now, sites_next, candidates and pops are above 0, and none above the next"
        found.append(("fleet", words))
    for step in inputs.promise.credits:
        if not (0 <= step.below <= 1 and 0 <= step.credit <= 1):
            found.append(("promise.credits", "below and credit are shares from 0 to 1"))
    power = inputs.power
    if quantity(power.busy_share).value < quantity(power.idle_share).value:
        words = "it is below power.idle_share; who serves draws no less than who waits"
        found.append(("power.busy_share", words))
    found += _country_faults(power)
    found += _plain_faults(inputs)
    return found


def _country_faults(power: Power) -> list[tuple[str, str]]:
    found = []
    for country, price in power.by_country.items():
        field = f"power.by_country.{country}"
        if country not in COUNTRIES:
            found.append((field, "it is no ISO 3166-1 alpha-2 code; write it as DE or SG"))
        if not 0 <= price <= 5:
            found.append((field, f"{price:g} is not from 0 to 5 dollars"))
    return found


def _plain_faults(inputs: Inputs) -> list[tuple[str, str]]:
    """Of numbers that have no range."""
    claims = inputs.claims
    limits = (
        ("claims.pops", claims.pops, 1, 10**9),
        ("claims.night_use", claims.night_use, 0, 1),
        ("claims.gpu_uplift", claims.gpu_uplift, -1, 100),
        ("claims.below_least", claims.below_least, 0, _BELOW_MOST),
        ("claims.below_most", claims.below_most, 0, _BELOW_MOST),
        ("claims.sites_now", claims.sites_now, 1, 10**9),
        ("claims.sites_next", claims.sites_next, 1, 10**9),
        ("fleet.pops", inputs.fleet.pops, 1, _SITES_MOST),
        ("cpu.prompt_tokens", inputs.cpu.prompt_tokens, 1, 10**7),
        ("renewals.target_retention", inputs.renewals.target_retention, 0, 10),
        ("renewals.years", inputs.renewals.years, 1, 20),
    )
    return [
        (name, f"{str(value)[:_SHOWN]} is not from {least} to {most}; correct it")
        for name, value, least, most in limits
        if value is not None and not least <= value <= most
    ]


def _offer_faults(offer: Offer) -> list[tuple[str, str]]:
    found = []
    try:
        find_gpu(offer.gpu)
    except BadPlan as error:
        found.append(("gpu", str(error).removeprefix("--gpu: ").rstrip(".")))
    if not 1 <= offer.gpus <= 64:
        found.append(("gpus", f"{offer.gpus} is not from 1 to 64"))
    if not 1 <= offer.context_tokens <= 10**7:
        found.append(("context_tokens", f"{offer.context_tokens} is not from 1 to 10,000,000"))
    if (offer.hardware is None) == (offer.rates is None):
        found.append(("hardware", "give it or rates, and not both"))
    if offer.hardware is not None and offer.hardware not in HARDWARE:
        found.append(("hardware", f"{offer.hardware!r} is none of {', '.join(HARDWARE)}"))
    if offer.rates is not None:
        pair = (offer.rates.prefill_per_s is None, offer.rates.decode_per_s is None)
        if (offer.rates.tokens_per_s is None) == all(pair) and any(pair):
            words = "give tokens_per_s, or prefill_per_s and decode_per_s"
            found.append(("rates", words))
        elif offer.rates.tokens_per_s is None and any(pair):
            found.append(("rates", "prefill_per_s and decode_per_s go together"))
    return found
