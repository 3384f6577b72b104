"""Personal fields: sealed per subject, bound to their receipt, forgotten by deleting lines."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selvedge.adapters import Vault
from selvedge.adapters import vault as vault_module
from selvedge.fabric import Personal, StoreCorrupt, StoreFailed

DAY_US = 86_400_000_000
AMARA = Personal("203.0.113.9", "amara", "mine")
NOBODY = Personal("203.0.113.9", None, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pop" / "subjects.jsonl"


@pytest.fixture
def vault(path: Path) -> Iterator[Vault]:
    made = Vault(path)
    yield made
    made.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [
        msgspec.json.decode(line, type=dict[str, Any]) for line in path.read_bytes().splitlines()
    ]


@pytest.mark.parametrize("who", [AMARA, NOBODY, Personal("", "", "")])
def test_what_is_sealed_opens(vault: Vault, who: Personal) -> None:
    sealed = vault.seal("asean", who, "rcpt_1", 0)
    assert vault.open(sealed, "rcpt_1") == who
    assert vault.seal("asean", who, "rcpt_1", 0) != sealed


def test_another_process_opens_it(path: Path, vault: Vault) -> None:
    sealed = vault.seal("asean", AMARA, "rcpt_1", 0)
    other = Vault(path)
    assert other.open(sealed, "rcpt_1") == AMARA
    other.close()


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_changed_ciphertext_is_refused_or_nobodys(vault: Vault, data: st.DataObject) -> None:
    sealed = bytearray(vault.seal("asean", AMARA, "rcpt_1", 0))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    if at < 16:  # the key's id: no such key
        assert vault.open(bytes(sealed), "rcpt_1") is None
    else:
        with pytest.raises(StoreCorrupt, match="personal fields of rcpt_1 fail their check"):
            vault.open(bytes(sealed), "rcpt_1")


def test_a_ciphertext_is_one_receipts_alone(vault: Vault) -> None:
    sealed = vault.seal("asean", AMARA, "rcpt_1", 0)
    with pytest.raises(StoreCorrupt, match="personal fields of rcpt_2 fail their check"):
        vault.open(sealed, "rcpt_2")


def test_every_cut_ciphertext_is_refused_or_nobodys(vault: Vault) -> None:
    sealed = vault.seal("asean", AMARA, "rcpt_1", 0)
    for size in range(16):
        assert vault.open(sealed[:size], "rcpt_1") is None
    for size in range(16, len(sealed)):
        with pytest.raises(StoreCorrupt):
            vault.open(sealed[:size], "rcpt_1")


def test_a_person_a_tenant_and_a_day_are_subjects(path: Path, vault: Vault) -> None:
    for tenant in ("asean", "eea"):
        for who in (AMARA, NOBODY, Personal("198.51.100.1", None, None)):
            for at_us in (0, DAY_US - 1, DAY_US):
                vault.seal(tenant, who, "rcpt_1", at_us)
    # Per tenant: one person, and two days of those who are not named.
    assert len({line["subject"] for line in lines(path)[1:]}) == len(lines(path)) - 1 == 2 * 3


def test_a_subject_may_have_several_keys_and_is_forgotten_whole(path: Path, vault: Vault) -> None:
    first = vault.seal("asean", AMARA, "rcpt_1", 0)
    again = Vault(path)
    second = again.seal("asean", AMARA, "rcpt_2", 0)
    other = again.seal("asean", NOBODY, "rcpt_3", 0)
    again.close()
    subject = lines(path)[1]["subject"]
    assert [line["subject"] == subject for line in lines(path)] == [False, True, True, False]
    assert first[:16] != second[:16]
    kept = [
        line for line in path.read_bytes().splitlines(keepends=True) if subject.encode() not in line
    ]
    path.write_bytes(b"".join(kept))
    assert vault.open(first, "rcpt_1") is None
    assert vault.open(second, "rcpt_2") is None
    assert vault.open(other, "rcpt_3") == NOBODY


def test_no_name_is_on_disk_and_the_file_is_the_owners(path: Path, vault: Vault) -> None:
    vault.seal("asean", AMARA, "rcpt_1", 0)
    content = path.read_bytes()
    for word in (b"amara", b"asean", b"203.0.113.9", b"mine"):
        assert word not in content
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.interpreted
def test_recent_keys_are_bounded(path: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_module, "CACHE_MAX", 2)
    sealed = [vault.seal("t", Personal("", name, None), "r", 0) for name in "abcab"]
    assert len(lines(path)) == 1 + 5
    assert [vault.open(one, "r") for one in sealed] == [
        Personal("", name, None) for name in "abcab"
    ]


@pytest.mark.parametrize("fault", ["cut", "refuse"])
def test_a_full_disk_is_said_and_swallows_no_later_key(
    path: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    write = os.write

    def faulty(fd: int, data: bytes) -> int:
        if fault == "cut":
            return write(fd, data[:40])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("selvedge.adapters.vault.os.write", faulty)
        with pytest.raises(StoreFailed, match="a subject's key cannot be kept: "):
            vault.seal("asean", AMARA, "rcpt_1", 0)
    assert path.read_bytes() == before
    sealed = vault.seal("asean", AMARA, "rcpt_1", 0)
    assert vault.open(sealed, "rcpt_1") == AMARA


def test_a_torn_tail_is_cut_at_every_byte(path: Path) -> None:
    vault = Vault(path)
    first = vault.seal("asean", AMARA, "rcpt_1", 0)
    whole = path.read_bytes()
    vault.seal("asean", NOBODY, "rcpt_2", 0)
    vault.close()
    longer = path.read_bytes()
    for cut in range(len(whole), len(longer), 7):
        path.write_bytes(longer[:cut])
        again = Vault(path)
        assert path.read_bytes() == whole
        sealed = again.seal("asean", NOBODY, "rcpt_2", 0)
        assert again.open(sealed, "rcpt_2") == NOBODY
        assert again.open(first, "rcpt_1") == AMARA
        again.close()


def test_the_secret_of_subjects_is_never_a_persons_key(path: Path) -> None:
    vault = Vault(path)
    vault.seal("asean", AMARA, "rcpt_1", 0)
    vault.close()
    secret, person = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"damaged\n" + person)
    Vault(path).close()
    found = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()[1:]]
    assert [one["id"] == "" for one in found] == [False, True]
    assert found[1]["key"] not in (found[0]["key"], msgspec.json.decode(secret)["key"])


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed, match="subjects cannot be used: File exists"):
        Vault(tmp_path / "file" / "subjects")
