"""Keys: found by id, compared in constant time, refused with a remedy and without the secret."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Key, Refused
from selvedge.ledger import Admitted, Keyring, hash_secret, keys, write_key
from tests.support.fleets import NOW_US, PEPPER, bearer, make_release

RING = Keyring(make_release().keys, PEPPER)


def code(authorization: str | None, now_us: int = NOW_US) -> str:
    refused = RING.admit(authorization, now_us)
    assert isinstance(refused, Refused)
    assert refused.kind.status == 401
    assert "secretof" not in refused.message
    return refused.code


def test_the_hash_is_hmac_sha_256() -> None:
    expected = hmac.new(b"pepper", b"id:secret", hashlib.sha256).hexdigest()
    assert hash_secret(b"pepper", "id", "secret") == expected


def test_a_key_that_holds() -> None:
    assert RING.admit(bearer("asean"), NOW_US) == Admitted("asean", "asean", "default", "default")
    # Its id has a dash.
    assert RING.admit(bearer("eea-strict"), NOW_US) == Admitted(
        "eea-strict", "eea", "default", "strict"
    )


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_scheme_has_no_case(scheme: str) -> None:
    assert isinstance(RING.admit(f"{scheme}{write_key('free', 'secretoffree')} ", 0), Admitted)


@pytest.mark.parametrize("sent", [None, "", "Basic abc", "sk-free-secretoffree", "Bearer"])
def test_no_key(sent: str | None) -> None:
    assert code(sent) == "missing_api_key"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "sk-",
        "sk",
        "sk-free",
        "sk-free-",
        "sk--secretoffree",
        "free-secretoffree",
        "SK-free-secretoffree",
        "sk-free-secretofasean",
        "sk-free-secretoffre",
        "sk-free-secretoffree-",
        "sk-eea-secretoffree",
        "sk-nobody-secretoffree",
        "sk-free-sécret",
        "sk-sk-free-secretoffree",
    ],
)
def test_keys_that_do_not_hold(written: str) -> None:
    assert code(f"Bearer {written}") == "invalid_api_key"


def test_expiry_is_told_only_to_the_holder() -> None:
    assert isinstance(RING.admit(bearer("old"), NOW_US - 1), Admitted)
    assert code(bearer("old"), NOW_US) == "key_expired"
    assert code("Bearer sk-old-wrong", NOW_US) == "invalid_api_key"


@pytest.mark.parametrize("written", ["sk-free-wrong", "sk-nobody-wrong", "nothing"])
def test_every_path_hashes_and_compares_once(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown id costs what a wrong secret costs: one HMAC, one comparison of equal lengths."""
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(
        keys.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b)
    )
    assert code(f"Bearer {written}") == "invalid_api_key"
    ((given_hash, stored),) = compared
    assert len(given_hash) == len(stored) == 32


def test_the_dummy_hash_opens_nothing() -> None:
    ring = Keyring([Key("zero", "t", "d", "0" * 64)], PEPPER)
    refused = ring.admit("Bearer sk-nobody-x", 0)
    assert isinstance(refused, Refused)


@pytest.mark.parametrize("secret", ["", "a-b", "-"])
def test_a_secret_that_could_not_be_read_back_is_not_written(secret: str) -> None:
    with pytest.raises(ValueError, match="no dash"):
        write_key("free", secret)


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
    st.text(st.characters(codec="ascii", exclude_characters="-", min_codepoint=33), min_size=1),
)
def test_what_is_written_is_admitted(key_id: str, secret: str) -> None:
    key = Key(key_id, "t", "d", hash_secret(PEPPER, key_id, secret))
    admitted = Keyring([key], PEPPER).admit(f"Bearer {write_key(key_id, secret)}", 0)
    assert admitted == Admitted(key_id, "t", "default", "d")
