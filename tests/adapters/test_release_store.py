"""Releases: the operator's word for word, never taken back, kept whole."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.adapters import (
    Held,
    ReleaseStore,
    open_release,
    operator_public_key,
    seal_release,
    sweep_drafts,
    write_atomically,
)
from selvedge.adapters import release_store as store_module
from selvedge.fabric import BadRelease, StaleRelease, StoreFailed
from tests.support.fleets import make_release

OPERATOR = bytes(range(32))
PUBLIC = operator_public_key(OPERATOR)
RELEASE = make_release()
SEALED = seal_release(RELEASE, OPERATOR)


class Site:
    """A PoP's store and the inbox beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "release"
        self.inbox = directory / "inbox.json"
        self.store = ReleaseStore(self.directory, self.inbox, PUBLIC)

    def lay_down(self, version: int, operator: bytes = OPERATOR) -> None:
        write_atomically(self.inbox, seal_release(make_release(version=version), operator))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def held(version: int) -> Held:
    return open_release(seal_release(make_release(version=version), OPERATOR), PUBLIC)


def test_what_is_sealed_opens_as_it_was() -> None:
    found = open_release(SEALED, PUBLIC)
    assert found.release == RELEASE
    assert found.hash.startswith("sha256:")
    assert open_release(SEALED, PUBLIC) == found


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused(at: int, change: int) -> None:
    damaged = bytearray(SEALED)
    damaged[at] ^= change
    with pytest.raises(BadRelease) as caught:
        open_release(bytes(damaged), PUBLIC)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_of_the_envelope_is_refused() -> None:
    """All of the few bytes that the signature does not cover."""
    start = SEALED.index(b',"hash"')
    for at in (*range(12), *range(start, len(SEALED))):
        for bit in range(8):
            damaged = bytearray(SEALED)
            damaged[at] ^= 1 << bit
            with pytest.raises(BadRelease):
                open_release(bytes(damaged), PUBLIC)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, len(SEALED) - 1))
def test_a_cut_release_is_refused(size: int) -> None:
    with pytest.raises(BadRelease, match=r"release: is not a signed release"):
        open_release(SEALED[:size], PUBLIC)


def envelope(**changes: object) -> bytes:
    fields: dict[str, Any] = msgspec.json.decode(SEALED)  # Any: JSON
    return msgspec.json.encode(fields | changes)


@pytest.mark.parametrize(
    ("data", "public", "field"),
    [
        (SEALED, operator_public_key(bytes(32)), "signature"),
        (SEALED, "", "signature"),
        (SEALED, "Ω", "signature"),
        (envelope(signature=""), PUBLIC, "signature"),
        (envelope(signature="Ω"), PUBLIC, "signature"),
        (envelope(v=2), PUBLIC, "v"),
        (envelope(hash="sha256:00"), PUBLIC, "hash"),
        (envelope(more=1), PUBLIC, "release"),
        (b"", PUBLIC, "release"),
        (b"[]", PUBLIC, "release"),
        (b"\xff", PUBLIC, "release"),
    ],
)
def test_what_is_not_the_operators(data: bytes, public: str, field: str) -> None:
    with pytest.raises(BadRelease) as caught:
        open_release(data, public)
    assert caught.value.field == field


def test_signed_yet_no_release() -> None:
    class Odd(msgspec.Struct):
        fleet: str = "x"

    with pytest.raises(BadRelease, match="release: Object missing required field"):
        open_release(seal_release(Odd(), OPERATOR), PUBLIC)  # type: ignore[arg-type]


def test_too_big(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RELEASE_BYTES_MAX", len(SEALED) - 1)
    with pytest.raises(BadRelease, match=f"release: exceeds {len(SEALED) - 1} bytes"):
        open_release(SEALED, PUBLIC)
    site.inbox.write_bytes(SEALED)
    with pytest.raises(BadRelease, match="release: exceeds"):
        site.store.take(None)


def test_newer_is_taken_and_kept(site: Site) -> None:
    assert site.store.load() is None
    site.lay_down(2)
    assert site.store.take(None) == held(2)
    site.store.keep()
    site.lay_down(3)
    assert site.store.take(held(2)) == held(3)
    site.store.keep()
    site.inbox.unlink()
    assert Site(site.inbox.parent).store.load() == held(3)
    assert [one.name for one in site.directory.iterdir()] == ["release.json"]


@pytest.mark.parametrize("version", [1, 6, 7])
def test_what_is_not_newer_is_refused(site: Site, version: int) -> None:
    site.lay_down(version)
    with pytest.raises(StaleRelease, match=f"version: {version} is not newer than 7"):
        site.store.take(held(7))


def test_what_was_checked_is_what_is_kept(site: Site) -> None:
    site.lay_down(2)
    site.store.take(None)
    site.inbox.write_bytes(b"replaced before it was kept")
    site.store.keep()
    assert site.store.load() == held(2)


def test_each_file_is_looked_at_once(site: Site) -> None:
    assert not site.store.changed()
    site.lay_down(2)
    stat = site.inbox.stat()
    assert site.store.changed()
    assert not site.store.changed()
    site.lay_down(3)
    os.utime(site.inbox, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert site.inbox.stat().st_size == stat.st_size
    assert site.store.changed()


def test_an_inbox_that_cannot_be_read(site: Site) -> None:
    with pytest.raises(BadRelease, match=r"inbox\.json: No such file"):
        site.store.take(None)
    site.inbox.mkdir()
    with pytest.raises(BadRelease, match=r"inbox\.json: Is a directory"):
        site.store.take(None)


def test_a_damaged_kept_release_is_refused(site: Site) -> None:
    (site.directory / "release.json").write_bytes(SEALED[:-9])
    with pytest.raises(BadRelease):
        site.store.load()
    (site.directory / "release.json").unlink()
    (site.directory / "release.json").mkdir()
    with pytest.raises(BadRelease, match=r"kept release: .*release\.json: Is a directory"):
        site.store.load()


@pytest.mark.parametrize("failing", ["fsync", "rename", "open"])
def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        if failing == "rename":
            patch.setattr(Path, "rename", full)
        else:
            patch.setattr(f"selvedge.adapters.release_store.os.{failing}", full)
        with pytest.raises(StoreFailed, match=f"{path} cannot be written: No space left"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    write_atomically(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed, match="cannot be written: "):
        write_atomically(tmp_path / "file" / "x", b"")


def test_what_a_killed_process_left_of_a_write_is_swept(tmp_path: Path) -> None:
    old_s = time.time() - store_module.DRAFT_S_MAX - 1
    for name in (".release.json.4711", ".other", "release.json.12", ".young.json.4711"):
        (tmp_path / name).write_bytes(b"")
        if "young" not in name:
            os.utime(tmp_path / name, (old_s, old_s))
    assert sweep_drafts(tmp_path) == 1
    left = {".other", "release.json.12", ".young.json.4711"}
    assert {one.name for one in tmp_path.iterdir()} == left
    assert sweep_drafts(tmp_path / "nowhere") == 0
