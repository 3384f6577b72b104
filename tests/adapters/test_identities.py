"""Keys: what two PoPs share without a secret in the release, and secrets kept once."""

from __future__ import annotations

import base64
import errno
import os
import threading
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature

from selvedge.adapters import (
    keep_secret,
    operator_public_key,
    pair_keys,
    pop_public_key,
    read_secret,
)
from selvedge.adapters.identities import sign, verify
from selvedge.fabric import BadRelease, Release, StoreFailed
from tests.support.fleets import make_pop, make_release

# RFC 7748, section 6.1.
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
# RFC 8032, section 7.1, test 2.
ED25519 = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
ED25519_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
ED25519_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
SECRETS = {"sin": ALICE, "fra": BOB, "cgk": bytes(range(32))}


def fleet(fleet_name: str = "example", **public: str) -> Release:
    keys = {pop: pop_public_key(secret) for pop, secret in SECRETS.items()} | public
    pops = tuple(
        msgspec.structs.replace(make_pop(pop), public_key=keys[pop])
        for pop in ("sin", "fra", "cgk")
    )
    return make_release(fleet=fleet_name, pops=pops)


def test_public_keys_of_the_rfcs() -> None:
    assert base64.b64decode(pop_public_key(ALICE)).hex() == ALICE_PUBLIC
    assert base64.b64decode(pop_public_key(BOB)).hex() == BOB_PUBLIC
    assert base64.b64decode(operator_public_key(ED25519)).hex() == ED25519_PUBLIC
    assert sign(ED25519, b"\x72").hex() == ED25519_SIGNATURE


def test_a_signature_holds_for_its_key_and_message_alone() -> None:
    public = operator_public_key(ED25519)
    verify(public, sign(ED25519, b"yes"), b"yes")
    for other, message in ((public, b"no"), (operator_public_key(ALICE), b"yes")):
        with pytest.raises(InvalidSignature):
            verify(other, sign(ED25519, b"yes"), message)


def test_both_ends_have_the_same_key_and_no_pair_has_anothers() -> None:
    release = fleet()
    keys = {pop: pair_keys(release, pop, secret) for pop, secret in SECRETS.items()}
    assert {pop: set(own) for pop, own in keys.items()} == {
        pop: set(SECRETS) - {pop} for pop in SECRETS
    }
    for a in SECRETS:
        for b in set(SECRETS) - {a}:
            assert keys[a][b] == keys[b][a]
            assert len(keys[a][b]) == 32
    assert len({key for own in keys.values() for key in own.values()}) == 3
    assert pair_keys(fleet("other"), "sin", ALICE)["fra"] != keys["sin"]["fra"]


@pytest.mark.parametrize(
    "public",
    [
        "",
        "not base64!",
        "QUJD",
        base64.b64encode(bytes(33)).decode(),
        "Ω",
        base64.b64encode(bytes(32)).decode(),  # of low order: the shared secret would be zero
        base64.b64encode(bytes([1, *bytes(31)])).decode(),
    ],
)
def test_a_peers_bad_key_is_named(public: str) -> None:
    with pytest.raises(BadRelease, match=r"^pops\.fra\.public_key: is .*in base64") as caught:
        pair_keys(fleet(fra=public), "sin", ALICE)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_not_on_this_disk() -> None:
    with pytest.raises(BadRelease, match=r"^pops\.sin\.public_key: is not the key on this PoP's"):
        pair_keys(fleet(), "sin", BOB)


def test_a_secret_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "identity.key"
    assert keep_secret(path, ALICE) == ALICE
    assert keep_secret(path, BOB) == ALICE
    assert read_secret(path) == ALICE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["identity.key"]


def test_the_first_to_come_wins(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    start = threading.Barrier(8)
    got: list[bytes] = []

    def keep(number: int) -> None:
        start.wait()
        got.append(keep_secret(path, bytes([number] * 32)))

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [read_secret(path)] * 8
    assert [one.name for one in tmp_path.iterdir()] == ["identity.key"]


@pytest.mark.parametrize("content", [b"", b"QUJD", b"\xff\xfe", b"A", base64.b64encode(bytes(33))])
def test_a_damaged_secret_is_named_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pepper.key"
    path.write_bytes(content)
    for act in (lambda: read_secret(path), lambda: keep_secret(path, ALICE)):
        with pytest.raises(StoreFailed) as caught:
            act()
        words = str(caught.value)
        assert words == f"{path} does not hold a 32-byte key in base64; restore or delete it"
    assert path.read_bytes() == content


def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=r"pepper\.key cannot be read: No such file"):
        read_secret(tmp_path / "pepper.key")


def test_a_full_disk_keeps_nothing_but_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    keep_secret(tmp_path / "old.key", ALICE)
    monkeypatch.setattr("selvedge.adapters.identities.os.fsync", full)
    with pytest.raises(StoreFailed, match=r"new\.key cannot be written: No space left on device"):
        keep_secret(tmp_path / "new.key", BOB)
    assert keep_secret(tmp_path / "old.key", BOB) == ALICE
    assert [one.name for one in tmp_path.iterdir()] == ["old.key"]
