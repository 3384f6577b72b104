"""What a role must not come to by a way round, and what one row must not do to all others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selvedge.adapters import open_release, operator_public_key
from selvedge.control import publishing
from selvedge.control.publishing import read_delta
from selvedge.control.tables import KEYS
from tests.support.admin import Api, make_api

KEY = {"tenant": "free", "class": "default"}
CLASSES = {"classes": {"d": {"zone": "eea", "ingress": "in-zone"}}}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = make_api(tmp_path, f"sqlite:///{tmp_path / 'control.sqlite'}")
    yield made
    made.close()


def revoked(api: Api) -> set[str]:
    delta = read_delta(api.home.release_file.with_name("key-delta.json"), api.home.operator_key())
    assert delta is not None
    return {one.id for one in delta.revoked}


@pytest.mark.parametrize("heir", ["Bad Id\n../x", "x" * 65, "-a", "é"])
def test_the_heir_of_a_rotation_has_a_name(api: Api, heir: str) -> None:
    """One row that no release can have would keep every release and delta from all PoPs."""
    told = api.ask("POST", "/keys/free/rotate", {"id": heir}, role="developer@free")
    assert (told.status, told.code, told.json["error"]["param"]) == (400, "invalid_value", "id")
    assert "at most 64 characters" in told.message
    assert api.ask("GET", "/keys/free").json["expires_us"] is None  # nothing of it is kept
    assert api.ask("POST", "/releases", {}).status == 200


def test_a_row_that_does_not_hold_keeps_no_revocation_back(api: Api) -> None:
    api.ask("POST", "/keys", {**KEY, "id": "one"})
    with api.database.write() as connection:  # as an earlier version may have left it
        connection.execute(KEYS.update().where(KEYS.c.id == "one").values(project="Not A Name"))
    told = api.ask("DELETE", "/keys/eea")
    assert (told.status, revoked(api)) == (200, {"eea"})
    assert api.ask("POST", "/releases", {}).code == "release_refused"
    assert api.ask("DELETE", "/keys/one").status == 200
    assert revoked(api) == {"eea", "one"}
    assert api.ask("POST", "/releases", {}).status == 200


@pytest.mark.parametrize(
    ("field", "names"),
    [("models", ["m"] * 65), ("models", ["m" * 129]), ("routes", ["/v1/models"] * 65)],
)
def test_scopes_are_bounded(api: Api, field: str, names: list[str]) -> None:
    """Every PoP holds every key: who may make keys must not fill the release of all."""
    words = "at most 64 names of at most 128 characters; name fewer"
    for method, path, form in (
        ("POST", "/keys", {**KEY, field: names}),
        ("PATCH", "/keys/free", {field: names}),
    ):
        told = api.ask(method, path, form, role="developer@free")
        assert told.code == "invalid_value"
        assert words in told.message or "is not of /v1/" in told.message, told.message


def test_a_release_that_pops_would_refuse_is_not_laid_down(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = api.home.release_file.read_bytes()
    monkeypatch.setattr(publishing, "RELEASE_BYTES_MAX", len(before) + 100)
    for name in ("one", "two", "three"):
        api.ask("POST", "/keys", {**KEY, "id": name})
    told = api.ask("POST", "/releases", {})
    assert (told.status, told.code) == (409, "release_refused")
    assert "bytes with" in told.message
    assert "revoke keys" in told.message
    assert api.home.release_file.read_bytes() == before
    assert api.ask("DELETE", "/keys/one").headers["selvedge-published"].isdigit()
    assert revoked(api) == {"one"}


def test_limits_alone_bring_nothing_back(api: Api) -> None:
    limits: dict[str, Any] = {"limits": {"requests_per_minute": 7}}
    api.ask("PUT", "/tenants/free/projects/p", {})
    assert api.ask("PUT", "/tenants/free/projects/p", limits, role="billing").status == 200
    api.ask("DELETE", "/tenants/free/projects/p")
    api.ask("PUT", "/tenants/acme", CLASSES)
    assert api.ask("PUT", "/tenants/acme", limits, role="billing").status == 200
    api.ask("DELETE", "/tenants/acme")
    for path in ("/tenants/free/projects/p", "/tenants/acme"):
        for form in (limits, {"limits": {}}):
            told = api.ask("PUT", path, form, role="billing")
            assert (told.code, "is closed" in told.message) == ("conflict", True), told.body
        assert api.ask("GET", path).json["removed_us"] is not None
    assert api.ask("PUT", "/tenants/acme", CLASSES, role="operator").json["removed_us"] is None


def test_who_makes_keys_does_not_raise_limits_that_others_set(api: Api) -> None:
    set_limits = {"limits": {"requests_per_minute": 10, "tokens_per_minute": 1000}}
    assert api.ask("PATCH", "/keys/free", set_limits, role="billing").status == 200
    for wider in ({}, {"requests_per_minute": 11, "tokens_per_minute": 1000}):
        told = api.ask("PATCH", "/keys/free", {"limits": wider}, role="developer@free")
        assert (told.status, told.code) == (403, "forbidden")
        assert "may lower a key's limits, not raise" in told.message
    lower = {"limits": {"requests_per_minute": 9, "tokens_per_minute": 1000}}
    assert api.ask("PATCH", "/keys/free", lower, role="developer@free").status == 200
    scope = {"models": ["chat"]}
    assert api.ask("PATCH", "/keys/free", scope, role="developer@free").status == 200
    assert api.ask("PATCH", "/keys/free", {"limits": {}}, role="operator").status == 200


def test_a_class_with_keys_stays(api: Api) -> None:
    """A release with a key of a class that is gone does not hold, and none would follow."""
    api.ask("PUT", "/tenants/acme", CLASSES)
    api.ask("POST", "/keys", {"tenant": "acme", "class": "d", "id": "acme-1"})
    other = {"classes": {"e": {"zone": "eea", "ingress": "in-zone"}}}
    told = api.ask("PUT", "/tenants/acme", other)
    assert (told.status, told.code) == (409, "conflict")
    assert "data class 'd' has keys, as 'acme-1'; revoke them first" in told.message
    api.ask("DELETE", "/keys/acme-1")
    assert api.ask("PUT", "/tenants/acme", other).status == 200
    assert api.ask("POST", "/releases", {}).status == 200
    public = operator_public_key(api.home.operator_key())
    release = open_release(api.home.release_file.read_bytes(), public).release
    assert [one.id for t in release.tenants if t.id == "acme" for one in t.classes] == ["e"]


def test_an_owner_whose_role_ends_is_not_the_last_owner(api: Api) -> None:
    ends = {"role": "owner", "expires_us": api.clock.now_us + 1_000_000}
    assert api.ask("PUT", "/grants/ada", ends).status == 201
    told = api.ask("DELETE", "/grants/owner")
    assert (told.code, "last owner" in told.message) == ("conflict", True)
    assert api.ask("DELETE", "/grants/ada").status == 200


@pytest.mark.parametrize("limit", ["0", "1001", "00000000001000", "-1", "1e3", "٣"])
def test_a_page_has_a_size(api: Api, limit: str) -> None:
    told = api.ask("GET", f"/tenants?limit={limit}")
    assert (told.status, told.json["error"]["param"]) == (400, "limit")
