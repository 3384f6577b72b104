"""Logins: an ID token holds or it does not, and an issuer that is away is 503, never 401."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from selvedge.control import ControlSettings, admin_api, issuer_keys
from selvedge.control.oidc import Logins
from selvedge.fabric import BadSetting
from tests.support.admin import Api, Told, make_api
from tests.support.issuer import AUDIENCE, Issuer, running_issuer

ROLES = {"selvedge-owners": "owner", "selvedge-dev": "developer"}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as made:
        yield made


@pytest.fixture
def api(tmp_path: Path, issuer: Issuer) -> Iterator[Api]:
    made = api_of(tmp_path, issuer)
    yield made
    made.close()


def api_of(tmp_path: Path, issuer: Issuer, **settings: Any) -> Api:  # Any: values of settings
    own = {
        "oidc_issuer": issuer.url,
        "oidc_audience": AUDIENCE,
        "oidc_roles": ROLES,
        **settings,
    }
    return make_api(tmp_path, f"sqlite:///{tmp_path / 'c.sqlite'}", **own)


def now_s() -> int:
    return int(time.time())


def me(api: Api, token: str) -> Told:
    return api.ask("GET", "/me", role=None, authorization=f"Bearer {token}")


def test_a_login_has_the_role_of_its_claim(api: Api, issuer: Issuer) -> None:
    token = issuer.token(now_s(), groups=["others", "selvedge-dev"])
    told = me(api, token).json
    assert (told["who"], told["role"], told["tenant"]) == ("login:ada", "developer", None)
    form = {"tenant": "free", "class": "default", "id": "ada-1"}
    made = api.ask("POST", "/keys", form, role=None, authorization=f"Bearer {token}")
    assert made.status == 201
    (row,) = api.ask("GET", "/audit?what=key+ada-1").json["data"]
    assert row["who"] == "login:ada"
    assert (
        api.ask("POST", "/releases", {}, role=None, authorization=f"Bearer {token}").status == 403
    )
    assert me(api, issuer.token(now_s(), groups="selvedge-owners")).json["role"] == "owner"


def test_a_grant_goes_before_the_claim(api: Api, issuer: Issuer) -> None:
    assert me(api, issuer.token(now_s())).code == "invalid_admin_key"
    assert api.ask("PUT", "/grants/ada", {"role": "auditor"}).json["secret"] is None
    assert me(api, issuer.token(now_s(), groups=["selvedge-owners"])).json["role"] == "auditor"
    api.ask("DELETE", "/grants/ada")
    assert me(api, issuer.token(now_s())).code == "invalid_admin_key"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"aud": None},
        {"exp": 1_000_000},
        {"exp": None},
        {"iat": None},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": "x" * 200},
        {"groups": "nobody"},
        {"groups": {"selvedge-owners": 1}},
    ],
)
def test_tokens_that_do_not_hold(api: Api, issuer: Issuer, claims: dict[str, Any]) -> None:
    token = issuer.token(now_s(), **{"groups": ["selvedge-owners"], **claims})
    told = me(api, token)
    assert (told.status, told.code) == (401, "invalid_admin_key")


def test_tokens_that_somebody_else_made(api: Api, issuer: Issuer) -> None:
    good = issuer.token(now_s(), groups=["selvedge-owners"])
    claims = jwt.decode(good, options={"verify_signature": False})
    head, body, signature = good.split(".")
    forged = [
        jwt.encode(claims, "", "none", headers={"kid": "one"}),
        jwt.encode(claims, "k" * 64, "HS256", headers={"kid": "one"}),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[::-1]}",
        jwt.encode(claims, "k" * 64, "HS256"),
        Issuer().token(now_s(), iss=issuer.url, groups=["selvedge-owners"]),
    ]
    for token in forged:
        assert me(api, token).status == 401
    assert me(api, good).status == 200


def test_a_new_key_of_the_issuer_is_fetched(
    api: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "UNKNOWN_KEY_S", 0)
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status == 200
    asked = issuer.asked
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status == 200
    assert issuer.asked == asked
    issuer.rotate("two")
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status == 200


def test_an_issuer_that_is_away_is_no_401(api: Api, issuer: Issuer) -> None:
    issuer.down = True
    told = me(api, issuer.token(now_s(), groups="selvedge-dev"))
    assert (told.status, told.code, told.headers["retry-after"]) == (503, "store_unavailable", "2")
    issuer.down = False
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status == 200
    # Keys that are known go on to hold while it is away.
    issuer.down = True
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status == 200


def test_a_role_of_one_tenant(tmp_path: Path, issuer: Issuer) -> None:
    api = api_of(tmp_path, issuer, oidc_tenant_claim="org")
    token = issuer.token(now_s(), groups="selvedge-dev", org="free")
    assert me(api, token).json["tenant"] == "free"
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status == 401
    api.close()


def test_an_address_counts_only_where_it_was_verified(tmp_path: Path, issuer: Issuer) -> None:
    api = api_of(tmp_path, issuer, oidc_name_claim="email")
    claims = {"groups": "selvedge-dev", "email": "ada@example.net"}
    assert me(api, issuer.token(now_s(), **claims)).status == 401
    told = me(api, issuer.token(now_s(), email_verified=True, **claims))
    assert told.json["who"] == "login:ada@example.net"
    api.close()


def test_an_issuer_that_says_it_is_another(tmp_path: Path, issuer: Issuer) -> None:
    issuer.claims_of_discovery["issuer"] = "https://other.example"
    api = api_of(tmp_path, issuer)
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status in (500, 503)
    api.close()


@pytest.mark.parametrize(
    "says", [b"", b"no JSON", b"\xff", b"[]", b"{}", b'{"keys": []}', b"[" * 100_000]
)
def test_an_issuer_that_answers_nonsense_is_no_401(api: Api, issuer: Issuer, says: bytes) -> None:
    issuer.says = says
    told = me(api, issuer.token(now_s(), groups="selvedge-dev"))
    assert (told.status, told.code) == (503, "store_unavailable")
    issuer.says = None
    assert me(api, issuer.token(now_s(), groups="selvedge-dev")).status == 200


def test_an_issuer_that_stands_still_keeps_nobody_else_waiting(
    api: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may send a token: the database is not to be taken for away because of it."""
    monkeypatch.setattr(issuer_keys, "ISSUER_S_MAX", 0.05)
    monkeypatch.setattr(admin_api, "ISSUER_S_MAX", 0.05)
    issuer.stands = threading.Event()
    try:
        told = me(api, issuer.token(now_s(), groups="selvedge-dev"))
        assert (told.status, "issuer" in told.message) == (503, True)
        assert not api.database.breaker.is_open
        assert api.ask("GET", "/tenants").status == 200
    finally:
        issuer.stands.set()


def test_what_is_no_token_never_comes_to_the_issuer(api: Api, issuer: Issuer) -> None:
    issuer.down = True
    none = jwt.encode({"sub": "ada"}, "k" * 64, "HS256", headers={"kid": "one"})
    for sent in ("x", "a.b.c", "sk-one-two", none):
        assert me(api, sent).status == 401


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "a\x9b2Jb"])
def test_a_name_can_be_shown(api: Api, issuer: Issuer, name: str) -> None:
    assert me(api, issuer.token(now_s(), groups="selvedge-dev", sub=name)).status == 401


def test_plain_http_is_for_loopback_alone() -> None:
    settings = ControlSettings(
        home=".", oidc_issuer="http://issuer.example", oidc_audience=AUDIENCE
    )
    with pytest.raises(BadSetting, match="is not an https URL"):
        Logins(settings, lambda name: None)
    with pytest.raises(BadSetting, match="oidc_audience"):
        ControlSettings(home=".", oidc_issuer="https://issuer.example")
