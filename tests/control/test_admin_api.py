"""The admin API: roles, pages, versions, errors that name field, limit and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from selvedge.control.admin_errors import ADMIN_ERRORS
from selvedge.control.admin_routes import ADMIN_ROUTES
from selvedge.control.roles import ACTS, FLEET_WIDE, ROLES
from tests.support.admin import Api, make_api

KEY = {"tenant": "free", "class": "default"}


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    made = make_api(tmp_path, database_url)
    yield made
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Api]:
    """Where the database makes no difference."""
    made = make_api(tmp_path, f"sqlite:///{tmp_path / 'control.sqlite'}")
    yield made
    made.close()


def test_a_tenant_from_its_making_to_its_end(api: Api) -> None:
    form = {"classes": {"standard": {"zone": "eea", "ingress": "in-zone"}}}
    made = api.ask("PUT", "/tenants/acme", form)
    assert (made.status, made.headers["etag"]) == (200, '"1"')
    assert made.headers["selvedge-published"] == "pending"  # a tenant waits for a release
    assert made.headers["x-request-id"].startswith("adm_")
    assert api.ask("PUT", "/tenants/acme", form).headers["etag"] == '"1"'
    limits = {"limits": {"requests_per_minute": 5}}
    assert api.ask("PUT", "/tenants/acme", limits, if_match='"1"').headers["etag"] == '"2"'
    stale = api.ask("PUT", "/tenants/acme", limits, if_match='"1"')
    assert (stale.status, stale.code) == (412, "version_changed")
    assert api.ask("PUT", "/tenants/acme", form, if_none_match="*").status == 412
    published = api.ask("POST", "/releases", {})
    assert (published.status, published.json["waits"]) == (200, False)
    key = api.ask("POST", "/keys", {"tenant": "acme", "class": "standard", "id": "acme-1"})
    assert key.status == 201
    assert key.headers["selvedge-published"].isdigit()
    assert api.ask("DELETE", "/tenants/acme").json["removed_us"] is not None
    assert api.ask("GET", "/keys/acme-1").json["removed_us"] is not None
    assert api.ask("DELETE", "/tenants/acme").status == 200


def test_keys_made_changed_rotated_revoked(api: Api) -> None:
    made = api.ask("POST", "/keys", {**KEY, "id": "one", "models": ["chat"]})
    assert made.json["secret"].startswith("sk-one-")
    again = api.ask("POST", "/keys", {**KEY, "id": "one"})
    assert (again.status, again.code) == (409, "conflict")
    assert "secret" not in api.ask("GET", "/keys/one").json
    changed = api.ask("PATCH", "/keys/one", {"limits": {"tokens_per_minute": 7}})
    assert (changed.json["models"], changed.json["limits"]) == (["chat"], {"tokens_per_minute": 7})
    rotated = api.ask("POST", "/keys/one/rotate", {"overlap_s": 60})
    assert rotated.json["key"]["rotates"] == "one"
    for _ in range(2):
        assert api.ask("DELETE", "/keys/one").json["removed_us"] is not None
    refused = api.ask("PATCH", "/keys/one", {"models": []})
    assert (refused.code, "for good" in refused.message) == ("conflict", True)


def test_lists_have_cursors(api: Api) -> None:
    for at in range(5):
        api.ask("POST", "/keys", {**KEY, "id": f"k{at}"})
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = api.ask("GET", f"/keys?tenant=free&limit=3&after={after}").json
        seen += [row["id"] for row in page["data"]]
        after = page["next"]
    assert seen == ["free", *(f"k{at}" for at in range(5)), "old"]
    first = api.ask("GET", "/audit?limit=4").json
    rest = api.ask("GET", f"/audit?limit=100&after={first['next']}").json
    assert first["data"][-1]["stamp"] > rest["data"][0]["stamp"]
    (row,) = api.ask("GET", "/audit?what=key+k3").json["data"]
    assert (row["act"], row["who"], row["before"]) == ("key.create", "key:owner", None)
    assert row["after"]["id"] == "k3"


@pytest.mark.parametrize(
    "case",
    [
        ("PUT", "/tenants/free", b"{", "invalid_json", None, "is not JSON"),
        ("PUT", "/tenants/free", b"\xff", "invalid_json", None, "is not JSON"),
        ("PUT", "/tenants/free", {"limits": {"x": 1}}, "invalid_value", "limits", "unknown field"),
        ("PUT", "/tenants/Free", {}, "invalid_value", "tenant", "at most 64 characters"),
        ("PUT", "/tenants/new", {"classes": {}}, "invalid_value", "classes", "at least one"),
        (
            "PUT",
            "/tenants/free",
            {"limits": {"requests_per_minute": -1}},
            "invalid_value",
            "limits.requests_per_minute",
            "from 0 to 9007199254740991",
        ),
        (
            "PUT",
            "/tenants/free",
            b'{"limits":{"micro_dollars_per_day":99999999999999999999999999}}',
            "invalid_value",
            "limits.micro_dollars_per_day",
            "",
        ),
        (
            "PUT",
            "/tenants/free",
            {"limits": {"tokens_per_minute": 1.5}},
            "invalid_value",
            "limits.tokens_per_minute",
            "Expected `int",
        ),
        ("POST", "/keys", {"tenant": "free"}, "invalid_value", None, "missing required field"),
        ("POST", "/keys", {**KEY, "project": "a\0b"}, "invalid_value", "project", "not a name"),
        ("POST", "/keys", {**KEY, "tenant": "a\0b"}, "invalid_value", "tenant", "not a name"),
        ("POST", "/keys", {**KEY, "expires_us": 2**80}, "invalid_value", "expires_us", "from 1"),
        ("POST", "/keys/none/rotate", {}, "not_found", None, "no key 'none'"),
        ("POST", "/keys/free/rotate", {"overlap_s": -1}, "invalid_value", "overlap_s", "from 0"),
        ("GET", "/keys?limit=0", None, "invalid_value", "limit", "from 1 to 1000"),
        ("GET", "/keys?limit=9999999999", None, "invalid_value", "limit", "from 1 to 1000"),
        ("GET", "/keys?colour=1", None, "invalid_value", "colour", "known: after, limit, tenant"),
        ("GET", "/keys?after=%00", None, "invalid_value", "after", "character that is none"),
        ("GET", "/audit?after=x", None, "invalid_value", "after", "cursor"),
        ("GET", "/nothing", None, "not_found", None, "openapi.json"),
        ("POST", "/tenants", {}, "method_not_allowed", None, "use GET"),
        ("PUT", "/grants/x", {"role": "king"}, "invalid_value", "role", "Invalid enum"),
        ("PUT", "/grants/x", {"role": "owner", "expires_us": 2**70}, "invalid_value", None, ""),
    ],
)
def test_bad_input_is_named(
    sqlite: Api, case: tuple[str, str, object, str, str | None, str]
) -> None:
    method, path, body, code, param, said = case
    told = sqlite.ask(method, path, body)
    assert (told.code, told.status) == (code, ADMIN_ERRORS[code].status)
    assert said in told.message
    if param is not None:
        assert told.json["error"]["param"] == param
    assert told.headers["x-should-retry"] == "false"


def test_bad_input_does_not_look_like_a_database_that_is_away(api: Api) -> None:
    for body in ({**KEY, "id": "\0"}, {**KEY, "expires_us": 2**63}, {**KEY, "models": ["\0"]}):
        assert api.ask("POST", "/keys", body).status in (201, 400)
    assert not api.database.breaker.is_open
    assert api.ask("GET", "/keys?after=%E2%98%83").status == 200


def test_a_body_has_a_limit(tmp_path: Path) -> None:
    api = make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}", body_bytes_max=100)
    told = api.ask("POST", "/keys", b"x" * 101)
    assert (told.status, told.code) == (413, "request_too_large")
    api.close()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (None, "missing_admin_key"),
        ("Basic abc", "missing_admin_key"),
        ("Bearer ", "missing_admin_key"),
        ("Bearer sa-owner-wrong", "invalid_admin_key"),
        ("Bearer sa-nobody-wrong", "invalid_admin_key"),
        ("Bearer sa-", "invalid_admin_key"),
        ("Bearer sk-free-secret", "invalid_admin_key"),
        ("Bearer a.b.c", "invalid_admin_key"),
    ],
)
def test_who_asks_without_a_key(sqlite: Api, sent: str | None, code: str) -> None:
    sqlite.key("owner")
    headers = {} if sent is None else {"authorization": sent}
    told = sqlite.ask("GET", "/tenants", role=None, **headers)
    assert (told.status, told.code) == (401, code)
    assert told.headers["www-authenticate"] == "Bearer"


def test_an_admin_key_ends(api: Api) -> None:
    now = api.clock.now_us
    made = api.ask("PUT", "/grants/short", {"role": "auditor", "key": True, "expires_us": now + 5})
    api.keys["short"] = made.json["secret"]
    assert api.ask("GET", "/me", role="short").json["role"] == "auditor"
    api.clock.now_us += 5
    assert api.ask("GET", "/me", role="short").code == "invalid_admin_key"
    api.key("auditor")
    assert api.ask("DELETE", "/grants/auditor").json["removed_us"] is not None
    assert api.ask("GET", "/me", role="auditor").code == "invalid_admin_key"
    last = api.ask("DELETE", "/grants/owner")
    assert (last.code, "last owner" in last.message) == ("conflict", True)
    shown = api.ask("GET", "/grants").body + api.ask("GET", "/audit").body
    for secret in api.keys.values():
        assert secret.rpartition("-")[2].encode() not in shown


REQUESTS = {
    "read": ("GET", "/tenants", None),
    "write": ("PUT", "/tenants/acme", {"classes": {"d": {"zone": "eea", "ingress": "in-zone"}}}),
    "keys": ("POST", "/keys", KEY),
    "alert": ("POST", "/alerts", {"tenant": "free", "kind": "burn", "url": "https://a.example"}),
    "limit": ("PUT", "/tenants/free", {"limits": {"concurrent_requests": 3}}),
    "publish": ("POST", "/releases", {}),
    "audit": ("GET", "/audit", None),
    "grant": ("GET", "/grants", None),
}


@pytest.mark.parametrize("role", ROLES)
def test_the_table_of_roles_holds(sqlite: Api, role: str) -> None:
    assert set(REQUESTS) == set(ACTS)
    for act, (method, path, body) in REQUESTS.items():
        told = sqlite.ask(method, path, body, role=role)
        may = role in ACTS[act][1]
        assert (told.status < 300) == may, (act, told.body)
        if not may:
            assert (told.status, told.code) == (403, "forbidden")
            assert f"role '{role}' may not do this" in told.message


def test_whoever_sets_limits_alone_sets_nothing_else(sqlite: Api) -> None:
    classes = REQUESTS["write"][2]
    assert sqlite.ask("PUT", "/tenants/free", classes, role="billing").code == "forbidden"
    assert sqlite.ask("PUT", "/tenants/free", {}, role="billing").code == "forbidden"
    assert sqlite.ask("PUT", "/tenants/free/projects/p", {}, role="billing").code == "not_found"
    narrow = {"limits": {"requests_per_minute": 1}}
    assert sqlite.ask("PATCH", "/keys/free", narrow, role="billing").status == 200
    assert sqlite.ask("PATCH", "/keys/free", {"models": []}, role="billing").code == "forbidden"


def test_a_grant_of_one_tenant_reaches_no_other(sqlite: Api) -> None:
    for role in ("owner@free", "operator@free", "developer@free"):
        for method, path, body in (
            ("GET", "/tenants/eea", None),
            ("GET", "/keys/eea", None),
            ("GET", "/keys?tenant=eea", None),
            ("DELETE", "/keys/eea", None),
            ("PATCH", "/keys/eea", {"models": []}),
            ("POST", "/keys/eea/rotate", {}),
            ("POST", "/keys", {"tenant": "eea", "class": "strict"}),
            ("GET", "/tenants/eea/projects/p", None),
        ):
            told = sqlite.ask(method, path, body, role=role)
            assert (told.status, told.code) == (404, "not_found"), (role, path)
        mine = sqlite.ask("GET", "/keys", role=role).json["data"]
        assert {row["tenant"] for row in mine} == {"free"}
        assert [row["id"] for row in sqlite.ask("GET", "/tenants", role=role).json["data"]] == [
            "free"
        ]
        for act in FLEET_WIDE:
            method, path, body = REQUESTS[act]
            assert sqlite.ask(method, path, body, role=role).code == "forbidden"
        own = {"limits": {"requests_per_minute": 10**9}}
        assert sqlite.ask("PUT", "/tenants/free", own, role=role).code == "forbidden"
        assert sqlite.ask("DELETE", "/tenants/free", role=role).code == "forbidden"
    assert sqlite.ask("POST", "/keys", KEY, role="developer@free").status == 201


def test_the_description_has_every_route(sqlite: Api) -> None:
    document = sqlite.ask("GET", "/openapi.json", role=None).json
    described = {
        (method.upper(), path) for path, rows in document["paths"].items() for method in rows
    }
    assert described == {(route.method, route.path) for route in ADMIN_ROUTES}
    text = msgspec.json.encode(document).decode()
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"]
    ids = [row["operationId"] for rows in document["paths"].values() for row in rows.values()]
    assert len(set(ids)) == len(ids)
    form = document["components"]["schemas"]["KeyForm"]
    assert set(form["required"]) == {"tenant", "class"}
