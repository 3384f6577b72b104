"""A scenario as it is written in a file, and what is wrong with one.

Strict: a field that is not here is refused, and so is whatever could not be run. Reading YAML and
finding the line of a field is the reader's affair; this module says which field, and the remedy.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from selvedge.fabric import BadScenario, Ingress, is_country
from selvedge.sim.batching import BatchingModel

Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=10**9)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=10**9)]
REGIONS = (
    "africa",
    "east-asia",
    "europe",
    "latin-america",
    "north-america",
    "oceania",
    "south-asia",
    "southeast-asia",
    "west-asia",
)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a scenario file."""


class Site(Part, frozen=True):
    """A PoP by hand: where it is, how many people it serves, how many engines it has."""

    city: str
    country: str
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    region: str = "europe"
    population: Count = 1_000_000
    utc_minutes: Annotated[int, msgspec.Meta(ge=-720, le=840)] = 0
    engines: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0


class Cities(Part, frozen=True):
    """PoPs from the package's city list, the most populous first.

    ``gpu_sites`` of them, those with the most traffic (population x ``market`` of the region),
    share ``gpus`` engines in proportion to it, one each at least.
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=4100)]
    gpu_sites: Annotated[int, msgspec.Meta(ge=1, le=4100)]
    gpus: Count
    market: dict[str, NotNegative] = {}


class Fleet(Part, frozen=True):
    """The PoPs: ``cities`` or ``sites``, never both; and the network between them."""

    cities: Cities | None = None
    sites: dict[str, Site] = {}
    path_inflation: Annotated[float, msgspec.Meta(ge=1, le=10)] = 1.6
    fixed_ms: NotNegative = 1.0
    jitter_ms: NotNegative = 0.0


class Hardware(Part, frozen=True):
    """What each engine is: a preset by name, or an engine model in numbers."""

    model: str
    preset: str | None = None
    engine: BatchingModel | None = None
    context_tokens_max: Count = 131_072


class ZonePart(Part, frozen=True):
    """Countries by code, by the name of a group, or all of the fleet's."""

    countries: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    everywhere: bool = False


class Prompts(Part, frozen=True):
    """The shape of a tenant's conversations, in tokens.

    A conversation begins with one of ``system_prompts`` shared prompts (Zipf with exponent
    ``zipf``), then each turn adds the last answer and a new message: the prompt grows.
    """

    system_prompts: Count = 8
    system_tokens: Count = 2000
    zipf: NotNegative = 1.0
    turn_tokens: Count = 300
    output_tokens: Count = 200
    output_tokens_max: Count = 1000
    turns: Annotated[float, msgspec.Meta(ge=1, le=100)] = 4.0
    think_s: NotNegative = 20.0


class TenantPart(Part, frozen=True):
    """Who asks: a zone, where its people are, and how much of the load it is."""

    zone: str
    share: Positive
    model: str | None = None
    ingress: Ingress = "in-zone"
    prompts: Prompts = Prompts()
    users_in: Literal["zone", "everywhere"] = "zone"
    clients: tuple[int, ...] = ()
    """Rows of the ServeGen table whose curves it follows over the day; none: no curve."""


class Traffic(Part, frozen=True):
    """How much is asked: ``knee_requests_per_s`` x ``load``, at this hour of UTC, in bursts.

    Every ``burst_s`` each tenant in each region draws how busy it is: a gamma variable of mean 1
    whose coefficient of variation is ``burst_cv``. With ``trace`` the arrivals come from a file.
    """

    knee_requests_per_s: Positive
    load: Positive = 0.8
    utc_hour: Annotated[float, msgspec.Meta(ge=0, lt=24)] = 13.0
    burst_s: Positive = 20.0
    burst_cv: NotNegative = 0.5
    deadline_s: Positive = 60.0
    """How long a client waits for its whole answer."""
    trace: Literal["mooncake", "azure-conversation", "azure-code"] | None = None
    constant: bool = False
    """Whether conversations begin at even distances instead of a Poisson process."""


class Window(Part, frozen=True):
    """What is measured: requests that arrive in ``measured_s`` after ``warmup_s``."""

    warmup_s: NotNegative = 120.0
    measured_s: Positive = 600.0


class SignalsPart(Part, frozen=True):
    """Load reports: one per PoP and ``period_ms``, ``delay_ms`` later than the link alone takes."""

    period_ms: Positive = 1000.0
    delay_ms: NotNegative = 0.0
    digests_from: Count = 16
    """Of how many of the nearest PoPs an ingress gets digests."""


class Content(Part, frozen=True):
    """What content leaves free, by local time: at ``peak_hour`` the least."""

    peak_hour: Annotated[float, msgspec.Meta(ge=0, lt=24)] = 21.0
    peak: Share = 0.8
    night: Share = 0.25
    spread: Share = 0.1
    surge_reserve: Share = 0.1


class Failure(Part, frozen=True):
    """Something is away for a while: the engines of a PoP, one of them, or its links."""

    pop: str
    from_s: NotNegative
    until_s: Positive
    engine: int | None = None
    links: bool = False
    """The PoP cannot be reached from others; its own ingress works on."""


class Slo(Part, frozen=True):
    """What counts as served well."""

    ttft_ms: Positive = 2000.0
    goodput: Share = 0.99


class Description(Part, frozen=True):
    """The whole file."""

    scenario: str
    about: str
    fleet: Fleet
    hardware: Hardware
    zones: dict[str, ZonePart]
    tenants: dict[str, TenantPart]
    traffic: Traffic
    window: Window = Window()
    signals: SignalsPart = SignalsPart()
    content: Content | None = None
    failures: tuple[Failure, ...] = ()
    slo: Slo = Slo()
    policy: str = "predictive"
    knobs: dict[str, dict[str, float]] = {}
    """By policy, knobs that were tuned for this scenario, on other seeds than those reported."""
    sealed_every: Count = 100


def check(found: Description) -> None:
    """Raises `BadScenario` with the field that cannot be run, and what to do about it."""
    fleet = found.fleet
    if (fleet.cities is None) == (not fleet.sites):
        raise BadScenario("fleet", "is empty or named twice; give either 'cities' or 'sites'")
    if fleet.cities is not None:
        _check_cities(fleet.cities)
    elif not any(site.engines for site in fleet.sites.values()):
        raise BadScenario("fleet.sites", "has no engine; give at least one site 'engines: 1'")
    for name, site in fleet.sites.items():
        if not is_country(site.country):
            words = f"{site.country!r} is not an ISO 3166-1 alpha-2 country code, as 'SG'"
            raise BadScenario(f"fleet.sites.{name}.country", words)
        _check_region(f"fleet.sites.{name}.region", site.region)
    if (found.hardware.preset is None) == (found.hardware.engine is None):
        raise BadScenario("hardware", "give either 'preset' or 'engine'")
    if not found.tenants:
        raise BadScenario("tenants", "is empty; nobody would ask: give at least one tenant")
    for name, tenant in found.tenants.items():
        _check_tenant(f"tenants.{name}", tenant, found)
    for number, failure in enumerate(found.failures):
        if failure.until_s <= failure.from_s:
            raise BadScenario(f"failures.{number}.until_s", "must be later than 'from_s'")


def _check_cities(cities: Cities) -> None:
    if cities.gpu_sites > cities.count:
        words = f"exceeds the {cities.count} cities; lower it or raise 'count'"
        raise BadScenario("fleet.cities.gpu_sites", words)
    if cities.gpus < cities.gpu_sites:
        words = f"is less than one for each of {cities.gpu_sites} sites; raise it"
        raise BadScenario("fleet.cities.gpus", words)
    for region in cities.market:
        _check_region(f"fleet.cities.market.{region}", region)


def _check_region(field: str, region: str) -> None:
    if region not in REGIONS:
        raise BadScenario(field, f"{region!r} is not one of {', '.join(REGIONS)}")


def _check_tenant(field: str, tenant: TenantPart, found: Description) -> None:
    if tenant.zone not in found.zones:
        known = ", ".join(sorted(found.zones)) or "none"
        raise BadScenario(f"{field}.zone", f"{tenant.zone!r} is not under zones ({known})")
    if tenant.model is not None and tenant.model != found.hardware.model:
        words = f"{tenant.model!r} is unknown; the fleet serves {found.hardware.model!r}"
        raise BadScenario(f"{field}.model", words)
