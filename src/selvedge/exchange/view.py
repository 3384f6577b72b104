"""What a PoP knows when a request arrives: one immutable view, swapped whole with the release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from selvedge.fabric import Engine, Model, PoP, Provider, Release
from selvedge.ledger import Holder, Keyring
from selvedge.residency import Rule, Rules
from selvedge.routing import Catalogue, EngineStates, FleetMap, Load, Paces, Policy, Signals
from selvedge.wire import prefix_salt


class Secrets(msgspec.Struct, frozen=True):
    """What a PoP holds beside the release: the pepper of key hashes, the keys it shares."""

    pepper: bytes
    pair_keys: Mapping[str, bytes]

    def __repr__(self) -> str:
        return "Secrets(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # Any: msgspec's own signature
        return []


class FleetView(msgspec.Struct, frozen=True):
    """A release, compiled for one PoP, with the load it knows of.

    ``pair_keys`` are the ticket keys this PoP shares with each other PoP, by PoP id.
    """

    release: Release
    release_hash: str
    here: PoP
    rules: Rules
    keyring: Keyring
    routes: FleetMap
    load: Load
    models: Mapping[str, Model]
    pops: Mapping[str, PoP]
    engines: Mapping[str, Engine]
    """Engines of this PoP."""
    providers: Mapping[str, Provider]
    """Third parties' regions, of the whole release."""
    pair_keys: Mapping[str, bytes]
    salts: Mapping[str, bytes] = {}
    """Of prompt fingerprints, by tenant; a tenant without one has no fingerprints."""
    zones: Mapping[str, frozenset[str]] = {}
    """The zone classes that a country lies in."""
    scopes: Mapping[str, tuple[str, str]] = {}
    """Of each rule of a policy within a zone, by `scope_of`, a tenant and class under it."""
    signals: Signals | None = None
    """What other PoPs report; None where nobody does."""
    states: EngineStates | None = None
    """What this PoP's own engines say; None where they say nothing."""
    dials: int = -1
    """Bitset of the sites that this PoP can ask: of providers those of whom it holds a secret."""
    paces: Paces | None = None
    """How quickly engines have answered here; None: nobody counts."""
    quotas: Holder | None = None
    """What may be used here of limits; None: nobody counts, and none holds."""

    def __repr__(self) -> str:
        return f"FleetView({self.release.fleet} version {self.release.version})"


class Compiled(msgspec.Struct, frozen=True):
    """What a release compiles to at every PoP alike: a simulation of thousands does it once."""

    release: Release
    release_hash: str
    rules: Rules
    keyring: Keyring
    models: Mapping[str, Model]
    pops: Mapping[str, PoP]
    providers: Mapping[str, Provider]
    catalogue: Catalogue
    salts: Mapping[str, bytes]
    zones: Mapping[str, frozenset[str]]
    scopes: Mapping[str, tuple[str, str]]


def compile_release(release: Release, release_hash: str, pepper: bytes) -> Compiled:
    """The part of `compile_view` that is the same at every PoP."""
    return Compiled(
        release=release,
        release_hash=release_hash,
        rules=Rules(release),
        keyring=Keyring(release.keys, pepper, release.tenants, release.projects),
        models={model.id: model for model in release.models},
        pops={pop.id: pop for pop in release.pops},
        providers={one.id: one for one in release.providers},
        catalogue=Catalogue(release),
        salts={one.id: prefix_salt(one.id, pepper) for one in release.tenants},
        zones=_zones(release),
        scopes={
            scope_of(one.zone, one.policy): (tenant.id, one.id)
            for tenant in release.tenants
            for one in tenant.classes
            if one.policy is not None
        },
    )


def scope_of(zone: str, policy_rule: str | None) -> str:
    """Under which name prefixes are told of: their zone class, within it the rule of a policy."""
    return zone if policy_rule is None else f"{zone}/{policy_rule}"


def prefix_scope(rule: Rule) -> str:
    """The same of one rule. Where a key or a request narrows it, it is a name that nobody
    is told by.
    """
    scope = scope_of(rule.zone, rule.policy_rule)
    if rule.asked:
        return "/".join((scope, "", *rule.narrowed, f"={rule.asked}"))
    return "/".join((scope, "", *rule.narrowed)) if rule.narrowed else scope


def _zones(release: Release) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {pop.country: set() for pop in release.pops}
    for zone in release.zones:
        for country in zone.countries:
            if country in found:
                found[country].add(zone.id)
    return {country: frozenset(zones) for country, zones in found.items()}


def compile_view(
    release: Release,
    release_hash: str,
    here: str,
    secrets: Secrets,
    load: Load,
    *,
    policy: Policy | None = None,
    signals: Signals | None = None,
    states: EngineStates | None = None,
    quotas: Holder | None = None,
) -> FleetView:
    """Compile a release for the PoP ``here``. Raises `KeyError` where the release lacks it."""
    compiled = compile_release(release, release_hash, secrets.pepper)
    pair_keys = secrets.pair_keys
    view = view_at(compiled, here, pair_keys, load, policy=policy, signals=signals, states=states)
    if quotas is None:
        return view
    quotas.serve(is_leased=release.control is not None)
    return msgspec.structs.replace(view, quotas=quotas)


def view_at(
    compiled: Compiled,
    here: str,
    pair_keys: Mapping[str, bytes],
    load: Load,
    *,
    policy: Policy | None = None,
    signals: Signals | None = None,
    states: EngineStates | None = None,
) -> FleetView:
    """A compiled release as seen from ``here``. Raises `KeyError` where the release lacks it."""
    own = compiled.pops[here]
    return FleetView(
        release=compiled.release,
        release_hash=compiled.release_hash,
        here=own,
        rules=compiled.rules,
        keyring=compiled.keyring,
        routes=FleetMap(compiled.release, here, policy, compiled.catalogue),
        load=load,
        models=compiled.models,
        pops=compiled.pops,
        providers=compiled.providers,
        engines={engine.id: engine for engine in own.engines},
        pair_keys=pair_keys,
        salts=compiled.salts,
        zones=compiled.zones,
        scopes=compiled.scopes,
        signals=signals,
        states=states,
    )
