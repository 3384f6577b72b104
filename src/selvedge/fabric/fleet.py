"""The fleet as nouns: models, engines, PoPs, zones, tenants, keys, and the release of them all.

A release is the one frozen value the control plane hands to a PoP. It checks itself on build: an
invalid one cannot exist. The order of ``Release.sites`` (PoPs, then providers) numbers them; the
bitsets of the residency room count in that order. Secrets are never in a release: keys appear as
keyed hashes, PoPs by their public keys.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

import msgspec

from selvedge.fabric.addresses import is_inside, read_address, why_forbidden
from selvedge.fabric.countries import UNKNOWN_COUNTRY, is_country
from selvedge.fabric.errors import BadRelease
from selvedge.fabric.geography import WanModel
from selvedge.fabric.logs import LOG_DOMAIN, JurisdictionLog, check_log_keys, check_logs
from selvedge.fabric.names import check_name, check_unique
from selvedge.fabric.policy import Entity, Handling, Policy
from selvedge.fabric.tenancy import Key, Price, Project, Tenant

DIGEST_PATTERN: Final = re.compile(r"unknown|sha256:[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_PUBLIC_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_CERTIFICATE: Final = re.compile(r"[A-Za-z0-9+/]{1,4094}={0,2}")
CERTIFICATES_MAX: Final = 2
PROVIDER_RTT_MS: Final = 60
"""To a provider that says neither where it is nor how far away."""
PROVIDER_MS_MAX: Final = 600_000
PROVIDER_KEYS_MAX: Final = 16
SECRET_NAME: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,127}|[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
"""Of an environment variable, or of a sealed secret."""

ModelKind = Literal["chat", "embedding", "rerank"]


def _check_country(what: str, code: str) -> None:
    if not is_country(code):
        raise BadRelease(what, f"{code!r} is not an ISO 3166-1 alpha-2 country code, as 'SG'")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model as it is sold: its name, the digest of its weights, and its limits in tokens."""

    id: str
    kind: ModelKind
    digest: str
    """``sha256:`` of the weights file, or ``unknown`` where a third party serves it."""
    quantisation: str
    context_tokens_max: int
    owner: str = "selvedge"
    media: bool = False
    """Whether messages may hold more than text (images, audio)."""
    dimensions: bool = False
    """Whether embedding vectors may be shortened on request."""
    resume: bool = False
    """Whether a broken answer may be continued at another engine (its seat: not used yet)."""
    price: Price | None = None
    """What its tokens cost; None: it is not priced, and neither budgets in money nor a release that
    is sold take it.
    """
    base: str | None = None
    """Of an adapter (LoRA): the model whose weights it is loaded upon; ``digest`` is its own."""

    def __post_init__(self) -> None:
        if not self.id or len(self.id) > 128 or not self.id.isprintable():
            raise BadRelease("models", "a model id has 1 to 128 printable characters")
        if not DIGEST_PATTERN.fullmatch(self.digest):
            raise BadRelease(f"models.{self.id}.digest", "is 'unknown' or 'sha256:' and 64 digits")
        if self.context_tokens_max < 1:
            raise BadRelease(f"models.{self.id}.context_tokens_max", "must be at least 1")
        if self.price is not None:
            self.price.check(f"models.{self.id}.price")


class Served(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model at one engine: ``name`` is what the engine itself calls it."""

    model: str
    name: str


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that speaks the OpenAI API, at a PoP or a third party's.

    ``profile`` names a row of the wire's engine profiles; ``api_key_env`` names the environment
    variable of the serving PoP that holds the engine's key.
    """

    id: str
    url: str
    profile: str
    serves: tuple[Served, ...]
    in_flight_max: int = 64
    prefill_tokens_per_s: int = 100
    api_key_env: str | None = None
    plain_http_outside: bool = False
    """Whether plaintext http may go to addresses that are neither loopback nor private."""
    honours: tuple[Handling, ...] = ()
    """Which handlings of data classes it keeps to, by how it is run or by contract."""
    cost: Price | None = None
    """What its operator pays for tokens there; None: nobody said, and the model's price stands."""

    def __post_init__(self) -> None:
        check_name("engines", self.id)
        if not self.serves:
            raise BadRelease(f"engines.{self.id}.serves", "an engine serves at least one model")
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", self.url):
            raise BadRelease(f"engines.{self.id}.url", f"{self.url!r} is not an http(s) URL")
        self._check_host()
        if self.in_flight_max < 1 or self.prefill_tokens_per_s < 1:
            raise BadRelease(f"engines.{self.id}", "limits and rates are at least 1")
        if self.cost is not None:
            self.cost.check(f"engines.{self.id}.cost")

    def _check_host(self) -> None:
        """Refuse an address in digits that could never be dialled; names wait for a resolver."""
        host = _host_of(self.url)
        address = read_address(host)
        if address is None:
            return
        why = why_forbidden(address)
        if why is not None:
            raise BadRelease(f"engines.{self.id}.url", f"{host} is {why}")
        plain = self.url.startswith("http://") and not is_inside(address)
        if plain and not self.plain_http_outside:
            words = f"{host} is outside this network; use https, or set plain_http_outside: true"
            raise BadRelease(f"engines.{self.id}.url", words)

    def name_of(self, model: str) -> str | None:
        """What this engine calls ``model``, or None where it does not serve it."""
        return next((one.name for one in self.serves if one.model == model), None)


def _host_of(url: str) -> str:
    authority = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return authority[1:].partition("]")[0] if "[" in authority else authority.partition(":")[0]


class PoP(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A point of presence: a site, its address for clients, its address for peers."""

    id: str
    city: str
    country: str
    """ISO 3166-1 alpha-2, or ``unknown``: then nothing that is bound to a place comes here."""
    latitude: float
    longitude: float
    url: str
    """Base URL for clients, without ``/v1``."""
    peer: str
    """``host:port`` for other PoPs."""
    public_key: str
    """X25519 public key, base64: the pairwise keys of tickets are derived from it."""
    entity: str = "unknown"
    """The legal entity that operates the site; one that is not among the release's entities is
    established nowhere that a rule knows.
    """
    engines: tuple[Engine, ...] = ()
    certificates: tuple[str, ...] = ()
    """TLS certificates for peers, DER in base64: it shows the first, and two may be good."""
    log_keys: tuple[str, ...] = ()
    """Ed25519, base64: what its log is signed with. None: it keeps no log."""

    def __post_init__(self) -> None:
        check_name("pops", self.id)
        if self.country != UNKNOWN_COUNTRY:
            _check_country(f"pops.{self.id}.country", self.country)
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):
            raise BadRelease(f"pops.{self.id}", "latitude is -90..90, longitude -180..180 degrees")
        if not _ADDRESS.fullmatch(self.peer):
            raise BadRelease(f"pops.{self.id}.peer", f"{self.peer!r} is not host:port")
        if not _PUBLIC_KEY.fullmatch(self.public_key):
            raise BadRelease(f"pops.{self.id}.public_key", "is 32 bytes in base64")
        check_unique(f"pops.{self.id}.engines", [engine.id for engine in self.engines])
        field = f"pops.{self.id}.certificates"
        if len(self.certificates) > CERTIFICATES_MAX:
            raise BadRelease(field, f"names more than {CERTIFICATES_MAX}; drop the oldest")
        if not all(_CERTIFICATE.fullmatch(one) for one in self.certificates):
            raise BadRelease(field, "is DER in base64, at most 4096 characters each")
        check_log_keys(f"pops.{self.id}.log_keys", self.log_keys)


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A third party's region: a place where engines are, and nothing else of ours.

    Every PoP that holds one of its ``keys`` dials it itself. It has no door, keys, log or report.
    """

    id: str
    country: str
    """Where it processes: ISO 3166-1 alpha-2, or ``unknown``."""
    engines: tuple[Engine, ...]
    entity: str = "unknown"
    """The legal entity that operates it; one that is not among the release's entities is
    established nowhere that a rule knows.
    """
    city: str = ""
    latitude: float | None = None
    longitude: float | None = None
    rtt_ms: int | None = None
    """The round trip from every PoP; None: by its coordinates, else `PROVIDER_RTT_MS`."""
    handicap_ms: int = 0
    """How much longer another may take to the first token before this one is asked."""
    keys: tuple[str, ...] = ()
    """Names of its secrets at the PoPs: of environment variables, or of sealed ones. None: it asks
    for no key.
    """

    def __post_init__(self) -> None:
        field = f"providers.{self.id}"
        check_name("providers", self.id)
        if self.country != UNKNOWN_COUNTRY:
            _check_country(f"{field}.country", self.country)
        if not self.engines:
            raise BadRelease(f"{field}.engines", "a provider has at least one engine")
        check_unique(f"{field}.engines", [engine.id for engine in self.engines])
        check_unique(f"{field}.keys", list(self.keys))
        if (self.latitude is None) != (self.longitude is None):
            raise BadRelease(field, "has latitude and longitude, or neither")
        if not (-90 <= (self.latitude or 0) <= 90 and -180 <= (self.longitude or 0) <= 180):
            raise BadRelease(field, "latitude is -90..90, longitude -180..180 degrees")
        for name in ("rtt_ms", "handicap_ms"):
            if not 0 <= (getattr(self, name) or 0) <= PROVIDER_MS_MAX:
                raise BadRelease(f"{field}.{name}", f"is from 0 to {PROVIDER_MS_MAX} ms")
        for one in self.keys:
            if not SECRET_NAME.fullmatch(one):
                words = f"{one!r} is no name of a secret: an environment variable in capitals, or "
                words += "a sealed one as a-z, 0-9, '.' and '-'"
                raise BadRelease(f"{field}.keys", words)
        for engine in self.engines:
            self._check_secrecy(f"{field}.engines.{engine.id}.url", engine)
        if len(self.keys) > PROVIDER_KEYS_MAX:
            raise BadRelease(f"{field}.keys", f"names more than {PROVIDER_KEYS_MAX}; leave some")

    def _check_secrecy(self, field: str, engine: Engine) -> None:
        """A third party's key does not travel where everybody reads it."""
        host = _host_of(engine.url)
        address = read_address(host)
        inside = is_inside(address) if address is not None else host == "localhost"
        if engine.url.startswith("http://") and not inside and not engine.plain_http_outside:
            words = f"{host} would be told its key in plaintext; use https, or set "
            raise BadRelease(field, words + "plain_http_outside: true")


Place: TypeAlias = PoP | Provider
"""Where a request may be processed."""


class Zone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Countries in which a scope may live."""

    id: str
    countries: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name("zones", self.id)
        for code in self.countries:
            _check_country(f"zones.{self.id}", code)


class Wan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fleet assumes of the network between its sites; see `WanModel`."""

    path_inflation: float = 1.6
    fixed_ms: float = 1.0

    def __post_init__(self) -> None:
        try:
            WanModel(path_inflation=self.path_inflation, fixed_ms=self.fixed_ms)
        except ValueError as error:
            raise BadRelease("wan", str(error)) from error


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where PoPs ask for leases, and with whom they share a key for that (as pairs of PoPs do)."""

    url: str
    public_key: str

    def __post_init__(self) -> None:
        _check_service("control", self.url, self.public_key)


class Collector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the receipts of one zone are collected."""

    zone: str
    url: str
    public_key: str

    def __post_init__(self) -> None:
        _check_service(f"collectors.{self.zone}", self.url, self.public_key)


def _check_service(what: str, url: str, public_key: str) -> None:
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
        words = f"{url!r} is not an http(s) URL, as 'http://10.0.0.7:8191'"
        raise BadRelease(f"{what}.url", words)
    if not _PUBLIC_KEY.fullmatch(public_key):
        raise BadRelease(f"{what}.public_key", "is 32 bytes in base64: 44 characters")


class Priced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price book that a release is sold by."""

    version: int
    hash: str
    day: str
    """The UTC day on which its prices were taken."""
    until: str | None = None
    """The first day after it on which a price of the book begins or ends."""


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fleet, complete and frozen. ``version`` only grows; an older one is refused."""

    fleet: str
    version: int
    made_us: int
    models: tuple[Model, ...]
    pops: tuple[PoP, ...]
    zones: tuple[Zone, ...]
    tenants: tuple[Tenant, ...]
    keys: tuple[Key, ...]
    wan: Wan = Wan()
    projects: tuple[Project, ...] = ()
    control: Control | None = None
    """None: nobody grants leases; limits are then each PoP's own, all of them."""
    collectors: tuple[Collector, ...] = ()
    """At most one a zone; where a zone has none, its receipts stay at the PoP."""
    priced: Priced | None = None
    """None: nothing is sold. Else a model without a price is refused."""
    entities: tuple[Entity, ...] = ()
    policy: Policy | None = None
    """None: zones alone say where data may be."""
    log_domain: str = LOG_DOMAIN
    """The origins of this fleet's logs begin with it."""
    logs: tuple[JurisdictionLog, ...] = ()
    providers: tuple[Provider, ...] = ()
    """Third parties' regions, numbered after the PoPs."""

    def __post_init__(self) -> None:
        check_name("fleet", self.fleet)
        if self.version < 1:
            raise BadRelease("version", "counts from 1")
        for what in ("models", "pops", "zones", "tenants", "keys"):
            check_unique(what, [one.id for one in getattr(self, what)])
        check_unique("providers", [one.id for one in self.sites])
        check_unique("entities", [one.id for one in self.entities])
        check_unique("projects", [f"{one.tenant}/{one.id}" for one in self.projects])
        check_unique("collectors", [one.zone for one in self.collectors])
        if not self.pops:
            raise BadRelease("pops", "a fleet has at least one PoP")
        self._check_certificates()
        self._check_bases()
        self._check_references()
        self._check_policy()
        check_logs(self.log_domain, self.logs)

    def _check_policy(self) -> None:
        entities = {one.id: one.parent for one in self.entities}
        for one in self.entities:
            parent, seen = one.parent, {one.id}
            while parent is not None:
                if parent not in entities or parent in seen:
                    words = f"{parent!r} is not under entities; add it there"
                    if parent in seen:
                        words = f"the owners are circular ({parent!r} owns itself); cut one of them"
                    raise BadRelease(f"entities.{one.id}.parent", words)
                seen.add(parent)
                parent = entities[parent]
        rules = set()
        for row in self.policy.rules if self.policy is not None else ():
            rules.add(row.rule)
            if row.bits.bit_length() > len(self.sites):
                more = f", and {len(self.providers)} providers" if self.providers else ""
                words = f"allows more PoPs than the {len(self.pops)} there are{more}"
                raise BadRelease(f"policy.rules.{row.rule}", words)
        for tenant in self.tenants:
            for kind in tenant.classes:
                if kind.policy is not None and kind.policy not in rules:
                    words = f"{kind.policy!r} is not a rule of this release's policy"
                    raise BadRelease(f"tenants.{tenant.id}.classes.{kind.id}.policy", words)

    def _check_certificates(self) -> None:
        holders: dict[str, str] = {}
        for pop in self.pops:
            for one in pop.certificates:
                other = holders.setdefault(one, pop.id)
                if other != pop.id:
                    words = f"holds the certificate of PoP {other!r}; a PoP has its own"
                    raise BadRelease(f"pops.{pop.id}.certificates", words)

    def _check_bases(self) -> None:
        by_id = {model.id: model for model in self.models}
        for model in self.models:
            if model.base is None:
                continue
            base, field = by_id.get(model.base), f"models.{model.id}.base"
            if base is None:
                raise BadRelease(field, f"{model.base!r} is not under models; add it")
            if base.base is not None or base.kind != model.kind:
                words = f"{model.base!r} is an adapter itself, or of another kind; name its base"
                raise BadRelease(field, words)

    def _check_references(self) -> None:
        models = {model.id: model.kind for model in self.models}
        zones = {zone.id for zone in self.zones}
        providers = {one.id for one in self.providers}
        classes = {(tenant.id, one.id) for tenant in self.tenants for one in tenant.classes}
        for number, site in enumerate(self.sites):
            table = "pops" if number < len(self.pops) else "providers"
            for engine in site.engines:
                for served in engine.serves:
                    if served.model not in models:
                        raise BadRelease(
                            f"{table}.{site.id}.engines.{engine.id}",
                            f"serves {served.model!r}, which is not under models",
                        )
        for tenant in self.tenants:
            for one in tenant.classes:
                if one.zone not in zones:
                    raise BadRelease(
                        f"tenants.{tenant.id}.classes.{one.id}.zone",
                        f"{one.zone!r} is not under zones",
                    )
                if one.cache is not None:
                    one.cache.check_models(f"tenants.{tenant.id}.classes.{one.id}.cache", models)
        for key in self.keys:
            if (key.tenant, key.data_class) not in classes:
                raise BadRelease(
                    f"keys.{key.id}", f"tenant {key.tenant!r} has no data class {key.data_class!r}"
                )
            if key.passes_to is not None and key.passes_to not in providers:
                words = f"{key.passes_to!r} is not under providers"
                raise BadRelease(f"keys.{key.id}.passes_to", words)
            for zone in key.zones:
                if zone not in zones:
                    raise BadRelease(f"keys.{key.id}.zones", f"{zone!r} is not under zones")
        tenants = {tenant.id for tenant in self.tenants}
        for project in self.projects:
            if project.tenant not in tenants:
                words = f"{project.tenant!r} is not under tenants"
                raise BadRelease(f"projects.{project.id}.tenant", words)
        for collector in self.collectors:
            if collector.zone not in zones:
                words = "is not under zones; collectors are named by a zone of the fleet"
                raise BadRelease(f"collectors.{collector.zone}", words)

    @property
    def sites(self) -> tuple[Place, ...]:
        """Every place where something may be processed, in the order of the bitsets."""
        return (*self.pops, *self.providers) if self.providers else self.pops

    def pop(self, pop_id: str) -> PoP:
        """The PoP with this id; raises `KeyError` where there is none."""
        for pop in self.pops:
            if pop.id == pop_id:
                return pop
        raise KeyError(pop_id)
