"""Certificate files: a pair that holds is loaded, anything else names its file and the remedy."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from selvedge.adapters import BadCertificate, CertificateFiles, client_side_context
from tests.support.certificates import write_pair

NOW_US = time.time_ns() // 1000
Spoil = Callable[[Path, Path], object]


def spoil_key(_: Path, key: Path) -> None:
    key.write_bytes(write_pair(key.parent / "other", 9)[1].read_bytes())


SPOILT: dict[str, tuple[Spoil, str]] = {
    "no chain": (lambda chain, _: chain.unlink(), r"chain\.pem cannot be read: No such file"),
    "no key": (lambda _, key: key.unlink(), r"key\.pem cannot be read: No such file"),
    "no PEM": (lambda chain, _: chain.write_bytes(b"x"), r"chain\.pem does not hold a certific"),
    "no key in it": (lambda _, key: key.write_bytes(b"x"), r"key\.pem does not hold an unencry"),
    "another's key": (spoil_key, r"key\.pem is not the key of .*chain\.pem; put the pair that"),
    "expired": (
        lambda chain, _: write_pair(chain.parent, 2, begins=-3, ends=-1),
        r"has expired .*; renew it",
    ),
    "early": (lambda chain, _: write_pair(chain.parent, 2, begins=1), r"is not valid yet .*renew"),
    "locked": (
        lambda chain, _: write_pair(chain.parent, 2, encrypted=True),
        r"key\.pem does not hold an unencrypted PEM key \(.*\); write it anew",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_pair_that_does_not_hold(how: str, tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path, 1)
    files = CertificateFiles(chain, key)
    assert files.load(NOW_US).serial == 1
    spoil, words = SPOILT[how]
    spoil(chain, key)
    with pytest.raises(BadCertificate, match=words) as caught:
        files.load(NOW_US)
    assert "\n" not in str(caught.value)


def test_its_end_is_known(tmp_path: Path) -> None:
    loaded = CertificateFiles(*write_pair(tmp_path, 7, ends=2)).load(NOW_US)
    assert loaded.serial == 7
    # An hour: the moment is that of the suite's start.
    assert abs(loaded.not_after_us - NOW_US - 2 * 86_400_000_000) < 3_600_000_000


def test_a_change_is_seen_once(tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path, 1)
    files = CertificateFiles(chain, key)
    assert [files.changed(), files.changed()] == [True, False]
    stat = key.stat()
    draft = tmp_path / "draft"
    draft.write_bytes(key.read_bytes())
    os.utime(draft, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    draft.rename(key)  # same size and time: another inode
    assert [files.changed(), files.changed()] == [True, False]
    chain.unlink()
    assert [files.changed(), files.changed()] == [True, False]


def test_what_clients_are_offered() -> None:
    context = client_side_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert all(one["aead"] for one in context.get_ciphers())
