"""Keys of scopes: found again, deleted for good, and silent about names."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.adapters.scope_keys import RECORD_BYTES, ScopeKeys
from selvedge.cache import Scope

ACME = Scope("acme", "chat", "eu", "p1")
ACME_US = Scope("acme", "chat", "us", "p1")
OTHER = Scope("other", "chat", "eu", "p1")


def test_a_key_is_found_again(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    sealed = keys.ensure(ACME, 1).cipher.encrypt(bytes(12), b"words", None)
    reader = ScopeKeys(tmp_path / "keys")
    found = reader.find(ACME)
    assert found is not None
    assert found.cipher.decrypt(bytes(12), sealed, None) == b"words"
    assert reader.find(ACME_US) is None
    assert reader.find(OTHER) is None


def test_scopes_have_keys_of_their_own(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    made = [keys.ensure(one, 1) for one in (ACME, ACME_US, OTHER)]
    assert len({one.tag for one in made}) == 3
    assert len({one.names for one in made}) == 3
    assert len({one.tenant for one in made}) == 2
    assert len({one.name(b"the same") for one in made}) == 3


def test_parts_of_a_scope_do_not_run_into_one_another(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    assert keys.tag(Scope("a", "b", "c", "d")) != keys.tag(Scope("a", "b", "cd", ""))
    assert keys.tag(Scope("a\nb", "c", "d", "")) != keys.tag(Scope("a", "b\nc", "d", ""))


def test_deleting_a_tenant_deletes_its_scopes_keys_alone(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    for one in (ACME, ACME_US, OTHER):
        keys.ensure(one, 1)
    before = (tmp_path / "keys").read_bytes()
    keys.drop(keys.of_tenant("acme"))
    after = (tmp_path / "keys").read_bytes()
    assert after[RECORD_BYTES : 3 * RECORD_BYTES] == bytes(2 * RECORD_BYTES)
    assert after[3 * RECORD_BYTES :] == before[3 * RECORD_BYTES :]
    reader = ScopeKeys(tmp_path / "keys")
    assert reader.find(ACME) is None
    assert reader.find(OTHER) is not None
    assert keys.find(ACME_US) is None


def test_a_new_key_after_a_deletion_is_another(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    before = keys.ensure(ACME, 1)
    keys.drop([before.tag])
    after = keys.ensure(ACME, 2)
    assert after.tag == before.tag
    assert after.names != before.names


def test_a_reader_that_missed_a_deletion_has_the_new_key(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    tag = keys.ensure(ACME, 1).tag
    reader = ScopeKeys(tmp_path / "keys")
    keys.drop([tag])
    made = keys.ensure(ACME, 2)
    reader.reload()
    found = reader.find(ACME)
    assert found is not None
    assert found.names == made.names
    assert found.cipher.decrypt(bytes(12), made.cipher.encrypt(bytes(12), b"x", None), None)


def test_no_name_is_in_the_file_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    keys.ensure(ACME, 1)
    data = (tmp_path / "keys").read_bytes()
    assert b"acme" not in data
    assert b"chat" not in data
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, RECORD_BYTES - 1])
def test_a_torn_record_is_cut(tmp_path: Path, cut: int) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    keys.ensure(ACME, 1)
    keys.ensure(OTHER, 1)
    data = (tmp_path / "keys").read_bytes()
    (tmp_path / "keys").write_bytes(data[:-cut])
    again = ScopeKeys(tmp_path / "keys", writes=True)
    assert again.find(ACME) is not None
    assert again.find(OTHER) is None
    again.ensure(OTHER, 2)
    assert ScopeKeys(tmp_path / "keys").find(OTHER) is not None


def test_a_damaged_record_loses_its_scope_alone(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    keys.ensure(ACME, 1)
    keys.ensure(OTHER, 1)
    data = bytearray((tmp_path / "keys").read_bytes())
    data[RECORD_BYTES + 50] ^= 1
    (tmp_path / "keys").write_bytes(data)
    again = ScopeKeys(tmp_path / "keys", writes=True)
    assert again.damaged == 1
    assert again.find(ACME) is None
    assert again.find(OTHER) is not None


def test_a_damaged_secret_begins_a_new_file(tmp_path: Path) -> None:
    keys = ScopeKeys(tmp_path / "keys", writes=True)
    keys.ensure(ACME, 1)
    data = bytearray((tmp_path / "keys").read_bytes())
    data[50] ^= 1
    (tmp_path / "keys").write_bytes(data)
    again = ScopeKeys(tmp_path / "keys", writes=True)
    assert again.tags() == []
    assert again.ensure(ACME, 2).tag != keys.tag(ACME)
    assert (tmp_path / "keys.damaged").exists()


def test_a_reader_without_a_file_has_no_keys(tmp_path: Path) -> None:
    assert ScopeKeys(tmp_path / "keys").find(ACME) is None
