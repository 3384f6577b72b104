"""The fleet as an operator writes it: a YAML file -> a checked description -> a release.

YAML 1.2 (``NO`` is Norway, not false), duplicate keys and unknown keys are errors, and every error
is one line that names file, field, limit and remedy. What is not the operator's to write (key
hashes, public keys, weight digests, ports of embedded engines) comes to `make_release` as `Facts`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters.fleet_form import (
    ClassConfig,
    EmbeddedEngine,
    EngineConfig,
    EntityConfig,
    Facts,
    FleetConfig,
    KeyConfig,
    ModelConfig,
    PoPConfig,
    ProjectConfig,
    ProviderConfig,
    ServiceConfig,
    TenantConfig,
    ZoneConfig,
)
from selvedge.adapters.fleet_residency import (
    entities_of,
    fill_residency,
    lists_of,
    with_policy,
    zone_of,
)
from selvedge.adapters.log_config import LogConfig, check_logs_config
from selvedge.adapters.model_catalogue import fill_models
from selvedge.adapters.yaml_text import one_line, read_yaml
from selvedge.fabric import (
    HANDLINGS,
    BadRelease,
    Collector,
    Control,
    DataClass,
    Engine,
    Key,
    Model,
    PoP,
    Project,
    Provider,
    Release,
    Served,
    Tenant,
)
from selvedge.residency import day_at
from selvedge.wire import PROFILES

CONFIG_BYTES_MAX = 16 * 1024 * 1024
ENGINE_SPEED = 1000
PROVIDER_SPEED = 10_000
"""Prompt tokens a second that an engine, or a provider's, is taken to read where nobody says."""
_ANY_HASH = "0" * 64
_ANY_PUBLIC_KEY = "A" * 43 + "="


def _silent(_: str) -> None:
    pass


def read_config(
    path: Path, *, force: bool = False, remark: Callable[[str], None] = _silent
) -> FleetConfig:
    """Read a fleet file and check it in full, as far as no key or weights are needed.

    ``remark`` hears what somebody should look at; ``force`` lets a class be left without any place.
    Raises `BadRelease` with one line that says what is wrong.
    """
    try:
        if path.stat().st_size > CONFIG_BYTES_MAX:
            raise BadRelease(str(path), f"exceeds {CONFIG_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadRelease(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRelease(str(path), f"is not UTF-8 at byte {error.start}") from error
    try:
        found = read_yaml(text)
        if found is None:
            raise BadRelease("fleet", "the file is empty; see examples/three-pops/fleet.yaml")
        fill_models(found)
        fill_residency(found, path.parent)
        _name_entries(found)
        config = msgspec.convert(found, FleetConfig)
        check_config(config, force=force, remark=remark)
    except (YAMLError, msgspec.ValidationError, BadRelease) as error:
        raise BadRelease(str(path), one_line(error)) from error
    return config


_TABLES: Mapping[str, type] = MappingProxyType(
    {
        "models": ModelConfig,
        "pops": PoPConfig,
        "zones": ZoneConfig,
        "tenants": TenantConfig,
        "keys": KeyConfig,
        "collectors": ServiceConfig,
        "logs": LogConfig,
        "entities": EntityConfig,
        "providers": ProviderConfig,
    }
)
_CHOICES: Mapping[str, str] = MappingProxyType(
    {"kind": "; it is chat or embedding", "ingress": "; it is in-zone or transit-allowed"}
)
_INNER: Mapping[str, type] = MappingProxyType(
    {"engines": EngineConfig, "classes": ClassConfig, "projects": ProjectConfig}
)


def _name_entries(found: object, field: str = "", tables: Mapping[str, type] = _TABLES) -> None:
    """Find the entry of a table that is wrong: the whole-file error would not name it.

    Raises `BadRelease`; what is wrong outside the tables is left for the whole-file conversion.
    """
    for table, kind in tables.items():
        entries = found.get(table) if isinstance(found, dict) else None
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            where = f"{field}{table}.{name}"
            _name_entries(entry, f"{where}.", _INNER if tables is _TABLES else {})
            try:
                msgspec.convert(entry, kind)
            except msgspec.ValidationError as error:
                path, _, words = one_line(error).rpartition(": ")
                words += _CHOICES.get(path, "") if "enum" in words else ""
                raise BadRelease(f"{where}.{path}".rstrip("."), words) from error


def check_config(
    config: FleetConfig, *, force: bool = False, remark: Callable[[str], None] = _silent
) -> None:
    """Make a release with stand-ins for keys, weights and ports. Raises `BadRelease`."""
    _check_listen(config)
    check_logs_config(config.logs)
    try:
        # Groups and instruments are those of today.
        now_us = time.time_ns() // 1000
        msgspec.json.encode(stand_in_release(config, now_us, force=force, remark=remark))
    except UnicodeEncodeError as error:
        raise BadRelease("fleet", f"holds a character that is none: {error.reason}") from error


def stand_in_release(
    config: FleetConfig,
    made_us: int,
    *,
    force: bool = False,
    remark: Callable[[str], None] = _silent,
) -> Release:
    """What a file would make if it were published then, with stand-ins for keys, weights and
    ports. Raises `BadRelease`.
    """
    stand_ins = Facts(
        version=1,
        made_us=made_us,
        key_hashes=dict.fromkeys(config.keys, _ANY_HASH),
        public_keys=dict.fromkeys(config.pops, _ANY_PUBLIC_KEY),
        digests={},
        engine_ports={
            f"{pop_id}/{engine_id}": 1
            for pop_id, pop in config.pops.items()
            for engine_id in pop.engines
        },
        control=_named_control(config),
        collectors=tuple(
            Collector(zone, one.url, one.public_key or _ANY_PUBLIC_KEY)
            for zone, one in config.collectors.items()
        ),
        force=force,
        remark=remark,
    )
    return make_release(config, stand_ins)


def _named_control(config: FleetConfig) -> Control | None:
    named = config.control
    return Control(named.url, named.public_key or _ANY_PUBLIC_KEY) if named is not None else None


def _check_listen(config: FleetConfig) -> None:
    taken: dict[str, str] = {}
    for name, pop in config.pops.items():
        other = taken.setdefault(pop.listen, name)
        if other != name:
            words = f"{pop.listen!r} is PoP {other!r}'s as well; give each its own"
            raise BadRelease(f"pops.{name}.listen", words)


def make_release(config: FleetConfig, facts: Facts) -> Release:
    """The release of a file. Raises `BadRelease` with the field that does not hold."""
    lists = lists_of(config)
    groups = lists.groups_on(day_at(facts.made_us))
    release = Release(
        fleet=config.fleet,
        version=facts.version,
        made_us=facts.made_us,
        models=tuple(_model(name, one, facts) for name, one in config.models.items()),
        pops=tuple(_pop(name, one, config, facts) for name, one in config.pops.items()),
        zones=tuple(zone_of(name, one, groups) for name, one in config.zones.items()),
        tenants=tuple(
            Tenant(
                name,
                tuple(
                    DataClass(
                        class_name,
                        rule.zone,
                        rule.ingress,
                        None,
                        tuple(rule.handling),
                        rule.cache,
                    )
                    for class_name, rule in one.classes.items()
                ),
                one.limits,
            )
            for name, one in config.tenants.items()
        ),
        keys=tuple(_key(name, one, config, facts) for name, one in config.keys.items()),
        wan=config.wan,
        projects=tuple(
            Project(project, name, part.limits)
            for name, one in config.tenants.items()
            for project, part in one.projects.items()
        ),
        control=facts.control,
        collectors=facts.collectors,
        log_domain=config.log_domain,
        logs=facts.logs,
        entities=entities_of(config),
        providers=tuple(_provider(name, one) for name, one in config.providers.items()),
    )
    return with_policy(release, config, lists, facts)


def _key(name: str, one: KeyConfig, config: FleetConfig, facts: Facts) -> Key:
    for model in one.models:
        if model not in config.models:
            raise BadRelease(f"keys.{name}.models", f"{model!r} is not under models")
    return Key(
        id=name,
        tenant=one.tenant,
        data_class=one.data_class,
        hash=facts.key_hashes[name],
        project=one.project,
        expires_us=one.expires_us,
        models=tuple(one.models),
        routes=tuple(one.routes),
        zones=tuple(one.zones),
        limits=one.limits,
        passes_to=one.passes_to,
        falls_back=one.falls_back,
    )


def _model(name: str, one: ModelConfig, facts: Facts) -> Model:
    digest = one.digest or facts.digests.get(name, "unknown")
    if one.base is not None and one.weights is not None:
        words = "the embedded engine loads no adapters; serve it by the url of an engine that does"
        raise BadRelease(f"models.{name}.weights", words)
    return Model(
        id=name,
        kind=one.kind,
        digest=digest,
        quantisation=one.quantisation,
        context_tokens_max=one.context_tokens_max,
        owner=one.owner,
        media=one.media,
        dimensions=one.dimensions,
        price=one.price,
        base=one.base,
    )


def _pop(name: str, one: PoPConfig, config: FleetConfig, facts: Facts) -> PoP:
    listen = facts.listen.get(name, one.listen)
    _check_address(f"pops.{name}.listen", listen)
    if one.peer is not None:
        _check_address(f"pops.{name}.peer", one.peer)
    if one.url is not None:
        _check_url(f"pops.{name}.url", one.url)
    return PoP(
        id=name,
        city=one.city,
        country=one.country,
        latitude=one.latitude,
        longitude=one.longitude,
        url=one.url or f"http://{listen}",
        peer=facts.peer_listen.get(name) or one.peer or listen,
        public_key=facts.public_keys[name],
        entity=one.entity,
        engines=tuple(
            _engine(name, engine_name, engine, config, facts)
            for engine_name, engine in one.engines.items()
        ),
        certificates=facts.certificates.get(name, ()),
        log_keys=facts.log_keys.get(name, ()),
    )


def _provider(name: str, one: ProviderConfig) -> Provider:
    field = f"providers.{name}"
    for engine_id, engine in one.engines.items():
        if engine.embedded is not None:
            words = "an embedded engine is a PoP's; name the url of the provider's API"
            raise BadRelease(f"{field}.engines.{engine_id}.embedded", words)
        if engine.api_key_env is not None:
            words = f"a provider's secrets are named by {field}.keys; move it there"
            raise BadRelease(f"{field}.engines.{engine_id}.api_key_env", words)
    engines = tuple(
        msgspec.structs.replace(
            _remote_engine(f"{field}.engines.{engine_id}", engine_id, engine, PROVIDER_SPEED),
            honours=tuple(each for each in HANDLINGS if each in (*one.honours, *engine.honours)),
        )
        for engine_id, engine in one.engines.items()
    )
    return Provider(
        id=name,
        country=one.country,
        engines=engines,
        entity=one.entity,
        city=one.city,
        latitude=one.latitude,
        longitude=one.longitude,
        rtt_ms=one.rtt_ms,
        handicap_ms=one.handicap_ms,
        keys=tuple(one.keys),
    )


def _check_address(field: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not _is_port(port):
        raise BadRelease(field, f"{address!r} is not host:port, as '127.0.0.1:8101'")


def _check_url(field: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(char.isspace() for char in url):
        raise BadRelease(field, f"{url!r} is not an http(s) URL, as 'http://127.0.0.1:8000'")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535


def _engine(pop: str, name: str, one: EngineConfig, config: FleetConfig, facts: Facts) -> Engine:
    field = f"pops.{pop}.engines.{name}"
    if (one.embedded is None) == (one.url is None):
        raise BadRelease(field, "has either 'embedded' or 'url'")
    if one.embedded is None:
        return _remote_engine(field, name, one, ENGINE_SPEED)
    model = one.embedded.model
    if model not in config.models or config.models[model].weights is None:
        raise BadRelease(f"{field}.embedded.model", f"{model!r} is not a model with weights")
    port = one.embedded.port or facts.engine_ports[f"{pop}/{name}"]
    return Engine(
        id=name,
        url=f"http://127.0.0.1:{port}",
        profile="llama.cpp",
        serves=(Served(model, model),),
        in_flight_max=one.in_flight_max,
        prefill_tokens_per_s=one.prefill_tokens_per_s or 100,
        honours=HANDLINGS if forgets(config, one.embedded) else ("no-training",),
        cost=one.cost,
    )


def _remote_engine(field: str, name: str, one: EngineConfig, speed: int) -> Engine:
    """An engine by its URL; ``speed`` is what it is taken to read, where nobody says."""
    if one.url is None:
        raise BadRelease(f"{field}.url", "is required: the base URL of its API")
    if one.profile not in PROFILES:
        raise BadRelease(f"{field}.profile", f"is one of {', '.join(PROFILES)}")
    _check_url(f"{field}.url", one.url)
    if not one.serves:
        raise BadRelease(f"{field}.serves", "name at least one model, as 'model: its name there'")
    return Engine(
        id=name,
        url=one.url,
        profile=one.profile,
        serves=tuple(Served(model, known_as) for model, known_as in one.serves.items()),
        in_flight_max=one.in_flight_max,
        prefill_tokens_per_s=one.prefill_tokens_per_s or speed,
        api_key_env=one.api_key_env,
        plain_http_outside=one.plain_http_outside,
        honours=tuple(one.honours),
        cost=one.cost,
    )


def forgets(config: FleetConfig, one: EmbeddedEngine) -> bool:
    """Whether an embedded engine is started so that it keeps nothing of a prompt."""
    if one.zero_retention is not None:
        return one.zero_retention
    classes = [each for tenant in config.tenants.values() for each in tenant.classes.values()]
    return any("zero-retention" in each.handling for each in classes)
