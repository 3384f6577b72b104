"""Published releases are kept for ever, before anybody sees them; and a join of leaves on disk."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from selvedge.adapters import (
    RELEASES,
    LeafJoin,
    ReleaseArchive,
    lay_down_release,
    open_release,
    operator_public_key,
    seal_release,
)
from selvedge.fabric import BadRelease, StoreCorrupt, StoreFailed
from tests.support.fleets import make_release

KEY = bytes(range(32))
PUBLIC = operator_public_key(KEY)


def sealed(version: int, fleet: str = "example") -> tuple[bytes, str]:
    data = seal_release(make_release(version=version, fleet=fleet), KEY)
    return data, open_release(data, PUBLIC).hash


def test_what_was_laid_down_is_found_by_version_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    archive = ReleaseArchive(tmp_path / RELEASES)
    for version in (1, 2, 3):
        data, hash_ = sealed(version)
        lay_down_release(path, data)
        assert path.read_bytes() == data
        held = archive.find(version, hash_, PUBLIC)
        assert held is not None
        assert (held.release.version, held.hash) == (version, hash_)
        assert archive.find(version, hash_.removeprefix("sha256:"), PUBLIC) is not None
        assert archive.version_of(hash_) == version
    assert [one[:8] for one in archive.names()] == ["00000001", "00000002", "00000003"]
    assert archive.find(4, sealed(4)[1], PUBLIC) is None
    assert archive.version_of(sealed(4)[1]) is None


def test_two_releases_of_one_version_are_both_kept(tmp_path: Path) -> None:
    """As where a control plane came back from an older copy."""
    path = tmp_path / "release.json"
    for fleet in ("example", "other"):
        lay_down_release(path, sealed(5, fleet)[0])
    archive = ReleaseArchive(tmp_path / RELEASES)
    for fleet in ("example", "other"):
        held = archive.find(5, sealed(5, fleet)[1], PUBLIC)
        assert held is not None
        assert held.release.fleet == fleet


def test_what_served_before_there_was_an_archive_is_kept_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_bytes(sealed(1)[0])
    lay_down_release(path, sealed(2)[0])
    assert len(ReleaseArchive(tmp_path / RELEASES).names()) == 2
    path.write_bytes(b"nonsense")
    lay_down_release(path, sealed(3)[0])
    assert len(ReleaseArchive(tmp_path / RELEASES).names()) == 3


def test_nothing_is_laid_down_that_cannot_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    with pytest.raises(BadRelease, match="is not a signed release"):
        lay_down_release(path, b"{}")
    (tmp_path / RELEASES).write_bytes(b"in the way")
    with pytest.raises(StoreFailed, match="cannot be written"):
        lay_down_release(path, sealed(1)[0])
    assert not path.exists()


def test_a_kept_release_that_does_not_hold_is_named(tmp_path: Path) -> None:
    archive = ReleaseArchive(tmp_path)
    data, hash_ = sealed(1)
    path = archive.keep(data)
    whole = path.read_bytes()
    assert archive.keep(data) == path
    assert path.read_bytes() == whole
    for wrong in (
        b"",
        b"no gzip",
        whole[:-9],
        whole[:40],
        gzip.compress(data.replace(b"Singapore", b"Singapura")),
        gzip.compress(b"{}"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(StoreCorrupt, match=f"{path.name} is not the release that was"):
            archive.find(1, hash_, PUBLIC)
    path.write_bytes(gzip.compress(sealed(2)[0]))
    with pytest.raises(StoreCorrupt, match="is another release than its name says"):
        archive.find(1, hash_, PUBLIC)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreFailed, match="cannot be read"):
        archive.find(1, hash_, PUBLIC)


def leaf(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def test_leaves_are_joined_whatever_their_order() -> None:
    join = LeafJoin()
    for number in range(3_000):
        join.want(number % 3, number, leaf(number))
    for number in reversed(range(10, 4_000)):
        join.log(number % 2, leaf(number))
    join.log(1, leaf(77))
    found = {(one.seq, one.times) for one in join.differing()}
    assert found == {*((one, 0) for one in range(10)), (77, 2)}
    assert (join.wanted, join.found) == (3_000, 2_990)
    assert dict(join.found_in) == {0: 1_495, 1: 1_496}
    join.close()


def test_a_join_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    join = LeafJoin()
    assert os.listdir(tmp_path)
    join.close()
    assert not os.listdir(tmp_path)
