"""Policies on their way to the PoPs: through the store, past those who would strand a tenant."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from selvedge.adapters import (
    open_release,
    operator_public_key,
    read_config,
    seal_release,
    write_atomically,
)
from selvedge.cli.tenancy import _class_form, _class_words
from selvedge.control import Home
from selvedge.control.rows import ClassRule, TenantForm
from selvedge.control.seeding import seed
from selvedge.fabric import BadRelease, Release, SelvedgeError
from selvedge.residency import Rules
from tests.support.admin import Api, make_api
from tests.support.fleets import NOW_US, make_release
from tests.support.policies import under_policy
from tests.support.stores import OWNER

TEXT = """
permit(principal == Rule::"near", action, resource) when { resource.groups.contains("ASEAN") };
permit(principal == Rule::"none", action, resource) when { resource.country == "US" };
"""
NEAR = ClassRule("asean", "in-zone", "near", ("zero-retention",))


def policed(rule: str = "near") -> Release:
    return under_policy(make_release(), TEXT, {("asean", "default"): rule})


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    made = make_api(tmp_path, database_url)
    sealed = seal_release(policed(), made.home.operator_key())
    write_atomically(made.home.release_file, sealed)
    yield made
    made.close()


def served(api: Api) -> Release:
    public = operator_public_key(api.home.operator_key())
    return open_release(api.home.release_file.read_bytes(), public).release


def test_a_class_keeps_its_policy_and_its_handling_in_the_store(api: Api) -> None:
    api.rooms.tenancy.put_tenant(OWNER, "acme", TenantForm(classes={"standard": NEAR}))
    api.rooms.publisher.publish_release(OWNER)
    release = served(api)
    (one,) = next(tenant for tenant in release.tenants if tenant.id == "acme").classes
    assert (one.policy, one.handling) == ("near", ("zero-retention",))
    rule = Rules(release).rule("acme", "standard", NOW_US)
    assert rule is not None
    assert (rule.allowed, rule.policy_rule) == (0b101, "near")
    again = seed(api.rooms.store, policed())
    (one,) = next(tenant for tenant in again.tenants if tenant.id == "acme").classes
    assert one.policy == "near"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (ClassRule("asean", "in-zone", "neer"), "'neer' is not a rule of this release's policy"),
        (ClassRule("asean", "in-zone", "none"), "could be processed nowhere by zone 'asean'"),
        (ClassRule("eea", "in-zone", "near"), "could be processed nowhere by zone 'eea'"),
    ],
)
def test_a_tenant_that_could_be_nowhere_is_not_made(api: Api, rule: ClassRule, words: str) -> None:
    with pytest.raises(SelvedgeError) as caught:
        api.rooms.tenancy.put_tenant(OWNER, "acme", TenantForm(classes={"standard": rule}))
    assert words in str(caught.value)
    api.rooms.publisher.publish_release(OWNER)
    assert all(tenant.id != "acme" for tenant in served(api).tenants)


def test_what_was_forced_is_in_the_audit(api: Api) -> None:
    seed(api.rooms.store, policed("none"))
    acts = [(one.act, one.what) for one in api.rooms.store.audit(None, 50, None)]
    forced = [what for act, what in acts if act == "release.force"]
    assert len(forced) == 1
    assert forced[0].startswith("tenant asean/default: data of this class could be processed")
    seed(api.rooms.store, policed())
    acts = [(one.act, one.what) for one in api.rooms.store.audit(None, 50, None)]
    assert sum(act == "release.force" for act, _ in acts) == 1, "nothing to force any more"


def test_a_release_that_strands_is_not_made_and_the_last_one_stays(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples/residency"
    for name in ("fleet.yaml", "policies.cedar"):
        shutil.copy(example / name, tmp_path / name)
    home, file = Home(tmp_path / "home"), tmp_path / "fleet.yaml"
    config = read_config(file)
    ports = {f"{pop}/{one}": 9000 for pop in config.pops for one in config.pops[pop].engines}
    first = home.publish(config, {}, ports, {})
    text = (tmp_path / "policies.cedar").read_text("utf-8")
    (tmp_path / "policies.cedar").write_text(text.replace('("ASEAN")', '("GCC")'), "utf-8")
    stranding = read_config(file, force=True)
    with pytest.raises(BadRelease, match="publish with --force"):
        home.publish(stranding, {}, ports, {})
    assert home.release() == first
    forced = home.publish(stranding, {}, ports, {}, force=True)
    assert home.release() == forced
    rule = Rules(forced).rule("asean", "standard", forced.made_us)
    assert rule is not None
    assert not rule.allowed


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a=eea:in-zone", {"zone": "eea", "ingress": "in-zone"}),
        ("a=eea:in-zone:eu", {"zone": "eea", "ingress": "in-zone", "policy": "eu"}),
        (
            "a=eea:transit-allowed::no-training,zero-retention",
            {
                "zone": "eea",
                "ingress": "transit-allowed",
                "handling": ["no-training", "zero-retention"],
            },
        ),
    ],
)
def test_classes_on_the_command_line(text: str, form: dict[str, object]) -> None:
    assert _class_form(text) == ("a", form)
    assert _class_words("a", form) == text


def test_what_is_no_class_on_the_command_line() -> None:
    with pytest.raises(SelvedgeError, match="INGRESS is in-zone or transit-allowed"):
        _class_form("a=eea:anywhere")
