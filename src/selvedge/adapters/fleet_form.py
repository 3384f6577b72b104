"""The form of a fleet file: what an operator writes, and what a release needs beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec

from selvedge.adapters.log_config import LogConfig
from selvedge.adapters.speculation import NO_SPECULATION, Speculation
from selvedge.fabric import (
    LIMIT_MAX,
    LOG_DOMAIN,
    NO_LIMITS,
    CacheRule,
    Collector,
    Control,
    Handling,
    Ingress,
    JurisdictionLog,
    Limits,
    ModelKind,
    Price,
    Wan,
)
from selvedge.residency import Decisions, Jurisdictions

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model on offer. ``weights`` names bundled weights or a GGUF file; absent for a URL's.

    What a row of the catalogue says (``catalogue``) need not be written: kind, context, base, and
    the first of its quantisations.
    """

    kind: ModelKind
    context_tokens_max: Count
    catalogue: str | None = None
    quantisation: str = "unknown"
    speculation: Speculation = NO_SPECULATION
    base: str | None = None
    """Of an adapter (LoRA): the model of this file that it is loaded upon."""
    weights: str | None = None
    digest: str | None = None
    owner: str = "selvedge"
    media: bool = False
    dimensions: bool = False
    price: Price | None = None


class EmbeddedEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """llama.cpp in a process of its own, started by ``selvedge up`` or ``selvedge engine``."""

    model: str
    slots: Count = 4
    threads: Count = 1
    prompt_batch_tokens: Count = 64
    port: Port | None = None
    zero_retention: bool | None = None
    """Whether it forgets every prompt at once, which costs what a prefix would have saved; None:
    where a data class of this file asks for zero retention.
    """


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An engine: either ``embedded``, or the ``url`` of a server that speaks the OpenAI API."""

    embedded: EmbeddedEngine | None = None
    url: str | None = None
    profile: str = "openai"
    serves: dict[str, str] = {}
    in_flight_max: Count = 32
    prefill_tokens_per_s: Count | None = None
    api_key_env: str | None = None
    plain_http_outside: bool = False
    honours: list[Handling] = []
    """What it keeps to of data classes' handling, by its operator's word. An embedded engine trains
    nothing; `embedded.zero_retention` says the rest.
    """
    cost: Price | None = None
    """What its operator pays there, in micro-dollars per million tokens."""


class ProviderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A third party's region: where it processes, who operates it, what it keeps to.

    ``keys`` name its secrets at the PoPs: environment variables in capitals, or sealed ones
    (`selvedge provider secret set`).
    """

    country: str
    engines: dict[str, EngineConfig]
    entity: str = "unknown"
    city: str = ""
    latitude: float | None = None
    longitude: float | None = None
    rtt_ms: int | None = None
    handicap_ms: int = 0
    keys: list[str] = []
    honours: list[Handling] = []
    """Of all its engines, beside what each says itself."""


class PoPConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A point of presence and where its process listens."""

    city: str
    country: str
    latitude: float
    longitude: float
    listen: str
    entity: str = "unknown"
    url: str | None = None
    peer: str | None = None
    engines: dict[str, EngineConfig] = {}


class ZoneConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Countries by code, or by the name of a group of the list; or the word for its ``scope``:
    ``in-region`` is one country, ``geo`` is one group, ``global`` is all countries.
    """

    countries: list[str] = []
    groups: list[str] = []
    scope: Literal["in-region", "geo", "global"] | None = None


class EntityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who operates sites: where it is established, who owns it, from where it reaches them."""

    country: str
    parent: str | None = None
    remote_access: list[str] = []
    certificates: list[str] = []
    sectors: list[str] = []


class ClassConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant's rule for one kind of data."""

    zone: str
    ingress: Ingress
    policy: str | None = None
    handling: list[Handling] = []
    cache: CacheRule | None = None
    """What may be answered from the cache; left out: nothing. `{}` is identical requests alone."""


class ProjectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a tenant with limits of its own."""

    limits: Limits = NO_LIMITS


class TenantConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant and its data classes, with its limits and those of its projects."""

    classes: dict[str, ClassConfig]
    limits: Limits = NO_LIMITS
    projects: dict[str, ProjectConfig] = {}


class KeyConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"data_class": "class"}
):
    """An API key's holder, what it is narrowed to, and its limits; its secret is minted, not
    written here.
    """

    tenant: str
    data_class: str
    project: str = "default"
    expires_us: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX)] | None = None
    models: list[str] = []
    routes: list[str] = []
    zones: list[str] = []
    limits: Limits = NO_LIMITS
    passes_to: str | None = None
    """The provider whose own key it is: what its client sends is passed there. Its hash comes by
    `selvedge provider key import`, not from here.
    """
    falls_back: bool = False


class ServiceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where PoPs reach the control process, or the collector of a zone: its base URL.

    ``public_key`` is of the X25519 key that it runs with; left out, of the key in the home from
    which the file is published.
    """

    url: str
    public_key: str | None = None


class ReadList(msgspec.Struct, frozen=True):
    """A list of jurisdictions: what the file that is named says."""

    file: str
    held: Jurisdictions


class ReadPolicies(msgspec.Struct, frozen=True):
    """Policies: what the file that is named says."""

    file: str
    text: str


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    fleet: str
    models: dict[str, ModelConfig]
    pops: dict[str, PoPConfig]
    zones: dict[str, ZoneConfig]
    tenants: dict[str, TenantConfig]
    keys: dict[str, KeyConfig]
    wan: Wan = Wan()
    control: ServiceConfig | None = None
    """Where PoPs ask for leases; None: limits are each PoP's own. ``selvedge up`` runs its own."""
    collectors: dict[str, ServiceConfig] = {}
    """By zone: where its receipts go; of other zones they stay at the PoPs."""
    entities: dict[str, EntityConfig] = {}
    jurisdictions: ReadList | None = None
    """None: the list that comes with the package."""
    policies: ReadPolicies | None = None
    """Written as the name of a file beside this one, in Cedar."""
    providers: dict[str, ProviderConfig] = {}
    """Third parties' regions, which the PoPs that hold a secret of theirs dial themselves."""
    log_domain: str = LOG_DOMAIN
    """The origins of this fleet's logs begin with it."""
    logs: dict[str, LogConfig] = {}
    """By jurisdiction: the transparency log that takes its PoPs' checkpoints."""


class Facts(msgspec.Struct, frozen=True):
    """What a release needs beyond the file. Keyed by id; engines as ``pop/engine``."""

    version: int
    made_us: int
    key_hashes: Mapping[str, str]
    public_keys: Mapping[str, str]
    digests: Mapping[str, str]
    engine_ports: Mapping[str, int]
    listen: Mapping[str, str] = {}
    peer_listen: Mapping[str, str] = {}
    certificates: Mapping[str, tuple[str, ...]] = {}
    collectors: tuple[Collector, ...] = ()
    control: Control | None = None
    force: bool = False
    """Whether a class may be left without any place to enter or to be processed."""
    remark: Callable[[str], None] = lambda _: None
    """Hears what somebody should look at, though it holds."""
    decisions: Decisions | None = None
    """What a policy engine answered before."""
    log_keys: Mapping[str, tuple[str, ...]] = {}
    logs: tuple[JurisdictionLog, ...] = ()
