"""Secrets of providers at rest: sealed, bound to their names and their PoP, never shown."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from selvedge.adapters import ProviderSecrets
from selvedge.adapters.provider_secrets import SECRET_BYTES_MAX, SECRETS_FILE, SECRETS_MAX
from selvedge.fabric import BadSetting, StoreCorrupt

IDENTITY = bytes(range(32))
SECRET = "sk-CANARY-0123456789"


def kept(directory: Path) -> ProviderSecrets:
    return ProviderSecrets(directory, IDENTITY)


def test_what_is_set_is_read_back_and_sealed(tmp_path: Path) -> None:
    secrets = kept(tmp_path)
    assert secrets.open() == ({}, [])
    assert secrets.mark() == (0, 0, 0)
    secrets.set("openai", SECRET)
    first = secrets.mark()
    secrets.set("mistral", "other")
    assert secrets.mark() != first
    assert kept(tmp_path).open() == ({"mistral": "other", "openai": SECRET}, [])
    assert secrets.names() == ["mistral", "openai"]
    path = tmp_path / SECRETS_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert SECRET.encode() not in path.read_bytes()
    assert SECRET not in repr(secrets)
    before = path.read_bytes()
    secrets.set("openai", SECRET)
    assert path.read_bytes() != before, "a nonce is used once"
    assert secrets.drop("openai")
    assert not secrets.drop("openai")
    assert secrets.names() == ["mistral"]


def test_another_pop_and_another_name_open_nothing(tmp_path: Path) -> None:
    kept(tmp_path).set("one", SECRET)
    assert ProviderSecrets(tmp_path, bytes(32)).open() == ({}, ["one"])
    path = tmp_path / SECRETS_FILE
    held = json.loads(path.read_bytes())
    held["secrets"]["two"] = held["secrets"]["one"]
    raw = bytearray(base64.b64decode(held["secrets"]["one"]))
    raw[-1] ^= 1
    held["secrets"]["bent"] = base64.b64encode(raw).decode()
    held["secrets"]["short"] = ""
    path.write_text(json.dumps(held))
    assert kept(tmp_path).open() == ({"one": SECRET}, ["two", "bent", "short"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v":1}', '{"v":1,"secrets":{"a":1}}', "\xff"])
def test_a_damaged_file_is_said_so_and_quotes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / SECRETS_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreCorrupt, match=r"is damaged; set its secrets again"):
        kept(tmp_path).open()
    (tmp_path / SECRETS_FILE).write_text('{"v":2,"secrets":{}}')
    with pytest.raises(StoreCorrupt, match="is of form 2"):
        kept(tmp_path).open()


@pytest.mark.parametrize("name", ["", "OPENAI_KEY", "no good", "-x", "a" * 65, "../x"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadSetting, match="is no name of a sealed secret"):
        kept(tmp_path).set(name, SECRET)


@pytest.mark.parametrize("secret", ["", "a\nb", "a\x00", "x" * (SECRET_BYTES_MAX + 1)])
def test_a_text_that_is_no_secret_is_not_repeated(tmp_path: Path, secret: str) -> None:
    with pytest.raises(BadSetting) as raised:
        kept(tmp_path).set("one", secret)
    assert not secret or secret not in str(raised.value)
    assert not (tmp_path / SECRETS_FILE).exists()


def test_there_is_a_most(tmp_path: Path) -> None:
    secrets = kept(tmp_path)
    sealed = {f"k{number}": b"x" for number in range(SECRETS_MAX)}
    secrets._write(sealed)
    with pytest.raises(BadSetting, match="256 secrets are kept already"):
        secrets.set("one-more", SECRET)
