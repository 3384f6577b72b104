"""Releases under a policy, for the tests of every room."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from selvedge.adapters import read_policies, shipped_jurisdictions
from selvedge.fabric import CompiledRule, Entity, Release
from selvedge.residency import Fleet, Jurisdictions, compile_policy

ENTITIES = (
    Entity("Example SG", "SG"),
    Entity("Example DE", "DE"),
    Entity("Example ID", "ID", parent="Example SG"),
)
"""Who operates the sites of `tests.support.fleets`."""


def under_policy(
    release: Release,
    text: str,
    rules: Mapping[tuple[str, str], str],
    *,
    entities: tuple[Entity, ...] = ENTITIES,
    lists: Jurisdictions | None = None,
) -> Release:
    """The release with a policy compiled; ``rules`` says which classes (of tenants) are under
    which of its rules.
    """
    tenants = tuple(
        msgspec.structs.replace(
            tenant,
            classes=tuple(
                msgspec.structs.replace(one, policy=rules.get((tenant.id, one.id)))
                for one in tenant.classes
            ),
        )
        for tenant in release.tenants
    )
    fleet = Fleet(release.sites, entities, tenants)
    listed = lists or shipped_jurisdictions()
    made = compile_policy(read_policies(text), fleet, listed, release.made_us)
    return msgspec.structs.replace(release, tenants=tenants, entities=entities, policy=made.policy)


def with_bits(release: Release, rule: str, **bits: str) -> Release:
    """The release with other bits than its policy says, in every row of a rule that has any."""
    assert release.policy is not None

    def changed(row: CompiledRule) -> CompiledRule:
        return msgspec.structs.replace(row, **bits) if row.rule == rule and row.bits else row

    rows = tuple(changed(one) for one in release.policy.rules)
    policy = msgspec.structs.replace(release.policy, rules=rows)
    return msgspec.structs.replace(release, policy=policy)
