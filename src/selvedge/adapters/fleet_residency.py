"""What a fleet file says of residency: its list, its entities, its zones and its policies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from selvedge.adapters.cedar import POLICY_BYTES_MAX, read_policies
from selvedge.adapters.fleet_form import Facts, FleetConfig, ZoneConfig
from selvedge.adapters.jurisdiction_files import (
    read_beside,
    read_jurisdictions,
    shipped_jurisdictions,
)
from selvedge.fabric import COUNTRIES, BadRelease, Entity, Release, Zone
from selvedge.residency import Fleet, Jurisdictions, close, compile_policy, strandings


def fill_residency(found: object, directory: Path) -> None:
    """Put what the files say that a fleet file names, as read, in the place of their names.

    Raises `BadRelease` with the field.
    """
    if not isinstance(found, dict):
        return
    named = found.get("jurisdictions")
    if named is not None:
        path = _beside("jurisdictions", named, directory)
        found["jurisdictions"] = {"file": named, "held": read_jurisdictions(path)}
    named = found.get("policies")
    if named is not None:
        text = read_beside(_beside("policies", named, directory), POLICY_BYTES_MAX)
        found["policies"] = {"file": named, "text": text}


def _beside(field: str, named: object, directory: Path) -> Path:
    if not isinstance(named, str) or not named:
        example = "policies.cedar" if field == "policies" else "jurisdictions.yaml"
        raise BadRelease(field, f"is the name of a file beside the fleet file, as {example!r}")
    return directory / named


def lists_of(config: FleetConfig) -> Jurisdictions:
    """The list of a fleet: its own, else the one that comes with the package."""
    return config.jurisdictions.held if config.jurisdictions else shipped_jurisdictions()


def entities_of(config: FleetConfig) -> tuple[Entity, ...]:
    """Who operates the sites of a fleet."""
    return tuple(
        Entity(
            id=name,
            country=one.country,
            parent=one.parent,
            remote_access=tuple(one.remote_access),
            certificates=tuple(one.certificates),
            sectors=tuple(one.sectors),
        )
        for name, one in config.entities.items()
    )


def zone_of(name: str, one: ZoneConfig, groups: Mapping[str, frozenset[str]]) -> Zone:
    """A zone's countries on a day. Raises `BadRelease`."""
    codes = set(one.countries)
    for group in one.groups:
        if group not in groups:
            words = f"{group!r} is not a group of the list{close(group, groups)}"
            raise BadRelease(f"zones.{name}.groups", words)
        codes |= groups[group]
    match one.scope:
        case "in-region" if len(one.countries) != 1 or one.groups:
            words = "in-region is one country and no group; leave 'scope' out where it is more"
            raise BadRelease(f"zones.{name}.scope", words)
        case "geo" if len(one.groups) != 1 or one.countries:
            words = "geo is one group and no other country; leave 'scope' out where it is more"
            raise BadRelease(f"zones.{name}.scope", words)
        case "global" if codes:
            words = "global is all countries; leave out 'countries' and 'groups'"
            raise BadRelease(f"zones.{name}.scope", words)
        case "global":
            codes |= COUNTRIES
    return Zone(name, tuple(sorted(codes)))


def with_policy(
    release: Release, config: FleetConfig, lists: Jurisdictions, facts: Facts
) -> Release:
    """The release with its policies compiled, and its classes under them. Raises `BadRelease`."""
    named = {
        (tenant, name): rule.policy
        for tenant, one in config.tenants.items()
        for name, rule in one.classes.items()
    }
    tenants = tuple(
        msgspec.structs.replace(
            tenant,
            classes=tuple(
                msgspec.structs.replace(one, policy=named[tenant.id, one.id])
                for one in tenant.classes
            ),
        )
        for tenant in release.tenants
    )
    if config.policies is None:
        for (tenant_id, name), policy in named.items():
            if policy is not None:
                words = "there are no policies; name their file by 'policies: FILE'"
                raise BadRelease(f"tenants.{tenant_id}.classes.{name}.policy", words)
        return release
    written = read_policies(config.policies.text)
    fleet = Fleet(release.sites, release.entities, tenants)
    made = compile_policy(written, fleet, lists, release.made_us, facts.decisions)
    for words in made.remarks:
        facts.remark(words)
    release = msgspec.structs.replace(release, tenants=tenants, policy=made.policy)
    for one in strandings(release):
        if not one.is_now or facts.force:
            facts.remark(f"{one.field}: {one.why}")
        else:
            words = f"{one.why}; 'selvedge policy check --force' tells more"
            raise BadRelease(one.field, f"{words}; change the policy, or publish with --force")
    return release
