"""The fleet, the buyers and the price book of the month that is played and billed.

Three zones of two PoPs, seven models (three of them adapters of one base), 20 tenants: every other
one pays in neurons. Two outages and one slow week are injected: they are facts of the month that
invoices and service levels must tell. Prices are invented.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from itertools import accumulate

import msgspec

from selvedge.adapters import operator_public_key, read_policies, shipped_jurisdictions
from selvedge.fabric import (
    ACTS,
    HANDLINGS,
    DataClass,
    Engine,
    Entity,
    Handling,
    JurisdictionLog,
    Key,
    Model,
    PoP,
    Project,
    Release,
    Served,
    Tenant,
    Witness,
    Zone,
)
from selvedge.ledger.price_book import Contract, Neurons, PriceBook, PriceRow, Tier
from selvedge.residency import Fleet, compile_policy
from selvedge.sim import HARDWARE, BatchingModel, Outage, Permits, Scenario, Timing
from selvedge.tlog import COSIGNATURE, Signer

MONTH = "2026-11"
DAYS = 30
START_US = 1_793_491_200_000_000
"""2026-11-01, 00:00 UTC: a Sunday."""
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
TENANTS = 20
ADAPTERS = ("mistral-7b-legal", "mistral-7b-medical", "mistral-7b-support")
SMALL, MIXED, LARGE = "mistral-7b-instruct", "llama-3.1-8b-instruct", "llama-3.3-70b-instruct"
MODELS = (SMALL, *ADAPTERS, MIXED, LARGE)
PLACES: Mapping[str, tuple[str, str, str, float, float]] = {
    "iad": ("us", "Ashburn", "US", 39.04, -77.49),
    "dfw": ("us", "Dallas", "US", 32.78, -96.80),
    "fra": ("eu", "Frankfurt", "DE", 50.11, 8.68),
    "ams": ("eu", "Amsterdam", "NL", 52.37, 4.90),
    "sin": ("apac", "Singapore", "SG", 1.29, 103.85),
    "nrt": ("apac", "Tokyo", "JP", 35.68, 139.77),
}
ZONES = {"us": ("US",), "eu": ("DE", "NL"), "apac": ("SG", "JP")}
LARGE_AT = ("iad", "fra", "sin")
SPARE_AT = "dfw"
_SPARE = BatchingModel(
    timing=Timing(prefill=40_000.0, prefill_token=4_500.0, decode=95_000.0, decode_answer=2_000.0),
    kv_tokens=120_000,
    slots=32,
    batch_tokens=2048,
)
"""What is left of the large model in zone ``us`` in its slow week."""
_HARDWARE = {
    "small": HARDWARE["mistral-7b-a100"].engine,
    "mixed": HARDWARE["llama-3.1-8b-l4"].engine,
    "large": HARDWARE["llama-3.1-70b-4xh100"].engine,
    "spare": _SPARE,
}
SERVES = {"small": (SMALL, *ADAPTERS), "mixed": (MIXED,), "large": (LARGE,), "spare": (LARGE,)}


class Use(msgspec.Struct, frozen=True):
    """What a part of a tenant's requests is: of which key, for which model, from where."""

    key: str
    model: str
    pops: tuple[str, ...]
    system: tuple[int, ...]
    """Names of the blocks of the project's system prompt."""


class Buyer(msgspec.Struct, frozen=True):
    """A tenant's uses, each with its share."""

    tenant: str
    uses: tuple[Use, ...]
    cumulative: tuple[float, ...]


def tenant_name(number: int) -> str:
    """Tenants count from 1."""
    return f"tenant-{number + 1:02}"


def zones_of(number: int) -> tuple[str, ...]:
    """The zones of a tenant: one, or, of the last two, two."""
    names = tuple(ZONES)
    turn = number + number // len(MODELS)  # every model is somebody's main one in every zone
    own = names[turn % 3]
    return (own,) if number < TENANTS - 2 else (own, names[(turn + 1) % 3])


def make_buyers() -> tuple[Buyer, ...]:
    """Each tenant asks two models in two projects, unevenly; every fourth asks an adapter."""
    return tuple(_buyer(number) for number in range(TENANTS))


def _buyer(number: int) -> Buyer:
    main = MODELS[number % len(MODELS)]
    other = MODELS[(number * 2 + 3) % len(MODELS)]
    uses: list[Use] = []
    shares: list[float] = []
    for zone in zones_of(number):
        pops = tuple(name for name, place in PLACES.items() if place[0] == zone)
        for project, model, share in (("app", main, 7), ("app", other, 1), ("tools", other, 2)):
            key = f"{tenant_name(number)}-{project}-{zone}"
            seed = hashlib.sha256(f"{key}/{model}".encode()).digest()
            blocks = tuple(int.from_bytes(seed[at : at + 7]) for at in range(0, 28, 7))
            uses.append(Use(key, model, pops, blocks))
            shares.append(share)
    return Buyer(tenant_name(number), tuple(uses), tuple(accumulate(shares)))


def log_seed(name: str) -> bytes:
    """The private key of a log or witness of this invented fleet."""
    return hashlib.sha256(f"log of {name}".encode()).digest()


def witness(zone: str) -> Signer:
    """Who cosigns the checkpoints of a zone's log."""
    return Signer(f"witness.example/{zone}", log_seed(f"witness {zone}"), COSIGNATURE)


def _log(zone: str) -> JurisdictionLog:
    return JurisdictionLog(
        id=zone,
        countries=ZONES[zone],
        url=f"https://log-{zone}.example.net",
        public_keys=(operator_public_key(log_seed(zone)),),
        witnesses=(Witness(witness(zone).verifier.text, f"https://witness-{zone}.example.net"),),
        quorum=1,
    )


POLICIES = """
@id("eu-only")
permit (principal == Rule::"eu-only", action, resource)
when { resource.groups.contains("EEA") && resource.transfers.contains("gdpr/art45") };

@id("apac-only")
permit (principal == Rule::"apac-only", action, resource)
when { ["JP", "SG"].containsAll(resource.reach) };

@id("apac-only-cache")
forbid (principal == Rule::"apac-only", action == Action::"cache", resource)
unless { resource.country == "SG" };
"""
"""Every zone but ``us`` has a rule, for every other of its tenants."""
HANDLED: Mapping[int, tuple[Handling, ...]] = {
    3: ("no-training",),
    5: ("zero-retention",),
    8: ("no-training", "zero-retention"),
}


PERMITS: Permits = {
    **{("eu-only", act): ((0, frozenset({"fra", "ams"})),) for act in ACTS},
    **{("apac-only", act): ((0, frozenset({"sin", "nrt"})),) for act in ACTS},
    ("apac-only", "cache"): ((0, frozenset({"sin"})),),
}
"""The same by hand, for the simulator's witness, which asks neither Cedar nor bitsets."""


def _class_of(number: int, zone: str) -> DataClass:
    rule = f"{zone}-only" if zone != "us" and number % 2 else None
    return DataClass(zone, zone, "in-zone", policy=rule, handling=HANDLED.get(number, ()))


def make_release() -> Release:
    """The fleet of the month, its policy compiled as of the first day."""
    fleet = _make_fleet()
    tenants = tuple(
        Tenant(tenant_name(at), tuple(_class_of(at, zone) for zone in zones_of(at)))
        for at in range(TENANTS)
    )
    known = Fleet(fleet.pops, fleet.entities, tenants)
    made = compile_policy(read_policies(POLICIES), known, shipped_jurisdictions(), fleet.made_us)
    return msgspec.structs.replace(fleet, policy=made.policy, tenants=tenants)


def _make_fleet() -> Release:
    """Before anybody wrote a rule: zones alone decide."""
    numbers = range(TENANTS)
    no_hash = "0" * 64
    return Release(
        fleet="month",
        version=1,
        made_us=START_US,
        models=tuple(_model(name) for name in MODELS),
        pops=tuple(_pop(name) for name in PLACES),
        zones=tuple(Zone(name, countries) for name, countries in ZONES.items()),
        tenants=tuple(
            Tenant(
                tenant_name(at), tuple(DataClass(zone, zone, "in-zone") for zone in zones_of(at))
            )
            for at in numbers
        ),
        projects=tuple(
            Project(project, tenant_name(at)) for at in numbers for project in ("app", "tools")
        ),
        entities=tuple(
            Entity(f"{place[1]} Ltd", place[2], parent=f"{place[0]} holding")
            for place in PLACES.values()
        )
        + tuple(Entity(f"{zone} holding", ZONES[zone][0]) for zone in ZONES),
        keys=tuple(
            Key(f"{tenant_name(at)}-{project}-{zone}", tenant_name(at), zone, no_hash, project)
            for at in numbers
            for project in ("app", "tools")
            for zone in zones_of(at)
        ),
        log_domain="logs.example",
        logs=tuple(_log(zone) for zone in ZONES),
    )


def _model(name: str) -> Model:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Model(name, "chat", f"sha256:{digest}", "simulated", 32_768)


def _engines_at(pop: str) -> tuple[str, ...]:
    found = ["small", "mixed"]
    found += ["large"] if pop in LARGE_AT else []
    found += ["spare"] if pop == SPARE_AT else []
    return tuple(found)


def _pop(name: str) -> PoP:
    _, city, country, latitude, longitude = PLACES[name]
    return PoP(
        id=name,
        city=city,
        country=country,
        latitude=latitude,
        longitude=longitude,
        url=f"https://{name}.example.net",
        peer=f"{name}.example.net:7443",
        public_key=base64.b64encode(bytes(32)).decode(),
        entity=f"{city} Ltd",
        log_keys=(operator_public_key(log_seed(name)),),
        engines=tuple(
            Engine(
                id=engine,
                url="http://127.0.0.1:8000",
                profile="openai",
                serves=tuple(Served(model, model) for model in SERVES[engine]),
                in_flight_max=1024,
                honours=HANDLINGS,
                prefill_tokens_per_s=_HARDWARE[engine].prefill_tokens_per_s,
            )
            for engine in _engines_at(name)
        ),
    )


def _at_us(day: int, hour: float) -> int:
    return START_US + (day - 1) * _DAY_US + int(hour * _HOUR_US)


FAULTS = (
    ("outage", "eu", "small", _at_us(10, 13.0), _at_us(10, 14.5)),
    ("outage", "apac", "mixed", _at_us(21, 14.0), _at_us(21, 17.0)),
    ("slow week", "us", "large", _at_us(16, 0.0), _at_us(23, 0.0)),
)
"""What is injected: kind, zone, engines that are down, from, until."""


def make_scenario() -> Scenario:
    """Engines, and the injected faults."""
    outages = [
        Outage(pop, engine, from_us, until_us)
        for _, zone, engine, from_us, until_us in FAULTS
        for pop, place in PLACES.items()
        if place[0] == zone and engine in _engines_at(pop)
    ]
    return Scenario(
        start_us=START_US,
        engines={
            f"{pop}/{engine}": _HARDWARE[engine] for pop in PLACES for engine in _engines_at(pop)
        },
        outages=tuple(outages),
        jitter_us=2_000,
        keeps=False,
        sealed_every=1,
    )


def make_price_book() -> PriceBook:
    """List prices with a change in mid-month and a row for one zone; ten contracts in each unit."""
    small = PriceRow(
        model=SMALL,
        input=140_000,
        output=210_000,
        cached=70_000,
        neurons_input=10_000,
        neurons_output=17_300,
    )
    large = PriceRow(
        model=LARGE,
        input=590_000,
        output=790_000,
        cached=295_000,
        request=2,
        neurons_input=26_668,
        neurons_output=204_805,
    )
    return PriceBook(
        version=1,
        prices=(
            small,
            msgspec.structs.replace(small, zone="apac", input=155_000, output=233_000),
            *(msgspec.structs.replace(small, model=name, output=260_000) for name in ADAPTERS),
            *_changed(),
            large,
        ),
        neurons=Neurons(micro_dollars_per_1000=11_000, free_per_day=10_000),
        contracts=tuple(_contract(number) for number in range(TENANTS)),
    )


def _changed() -> tuple[PriceRow, PriceRow]:
    """A model that becomes cheaper on the 15th."""
    row = PriceRow(
        model=MIXED,
        input=152_000,
        output=287_000,
        cached=76_000,
        neurons_input=13_778,
        neurons_output=26_128,
        until=f"{MONTH}-15",
    )
    later = msgspec.structs.replace(
        row, input=139_000, output=263_000, since=f"{MONTH}-15", until=None
    )
    return row, later


def _contract(number: int) -> Contract:
    plain = Contract(tenant=tenant_name(number), unit="neurons" if number % 2 else "tokens")
    changes: dict[int, dict[str, object]] = {
        0: {"tiers": (Tier(5_000_000, 50_000), Tier(10_000_000, 100_000))},
        2: {"discount_ppm": 75_000},
        3: {"discount_ppm": 120_000, "minimum_micro_dollars": 1_000_000},
        4: {"committed_micro_dollars": 25_000_000},
        7: {"minimum_micro_dollars": 40_000_000},
    }
    return msgspec.structs.replace(plain, **changes.get(number, {}))
