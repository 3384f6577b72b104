"""The keeper of releases: newer is taken whole, anything else leaves the last good one serving."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import (
    ClientSettings,
    HttpClient,
    MemoryAppender,
    ReceiptBook,
    ReleaseStore,
    Vault,
    keep_secret,
    operator_public_key,
    pop_public_key,
    seal_release,
    write_atomically,
)
from selvedge.fabric import Outcome, PoP, Release, StoreCorrupt, StoreFailed
from selvedge.ledger import Recovery
from selvedge.pop import Settings
from selvedge.pop.process import ReleaseKeeper, open_book
from selvedge.pop.state import PopState
from tests.adapters.test_journal_store import RECEIPT
from tests.adapters.test_receipt_book import WHO
from tests.support.fleets import make_pop, make_release

OPERATOR = bytes(range(32))


class Site:
    """A PoP without a socket: its state, its keeper, its inbox."""

    def __init__(self, directory: Path, pop: str = "sin") -> None:
        self.settings = Settings(
            pop=pop,
            listen="127.0.0.1:0",
            state_dir=str(directory / "state"),
            release_file=str(directory / "inbox.json"),
            operator_public_key=operator_public_key(OPERATOR),
            pepper_file=str(directory / "pepper.key"),
        )
        keep_secret(Path(self.settings.pepper_file), bytes(32))
        self.identity = keep_secret(directory / "state" / "identity.key", os.urandom(32))
        self.kept = directory / "release"
        self._vault = Vault(directory / "subjects.jsonl")
        book = ReceiptBook(pop, MemoryAppender(), self._vault, Recovery({}, {}))
        self.state = PopState(self.settings, book, HttpClient(ClientSettings()), {})
        self.keeper: ReleaseKeeper
        self.restart()

    def restart(self) -> None:
        """A new keeper over the same disk, as a new process has it."""
        self.state.view = None
        inbox = Path(self.settings.release_file)
        store = ReleaseStore(self.kept, inbox, self.settings.operator_public_key)
        self.keeper = ReleaseKeeper(self.state, store, self.settings)

    def release(self, version: int, **own: object) -> Release:
        public = {"sin": pop_public_key(self.identity)}
        other = pop_public_key(bytes(range(32)))
        pops: list[PoP] = []
        for pop in ("sin", "fra", "cgk"):
            one = msgspec.structs.replace(make_pop(pop), public_key=public.get(pop, other))
            pops.append(msgspec.structs.replace(one, **own) if pop == "sin" else one)
        return make_release(version=version, pops=tuple(pops))

    def lay_down(self, release: Release, operator: bytes = OPERATOR) -> None:
        write_atomically(Path(self.settings.release_file), seal_release(release, operator))

    @property
    def version(self) -> int | None:
        return self.state.view.release.version if self.state.view else None

    @property
    def refused(self) -> int:
        line = b"selvedge_releases_refused_total "
        shown = self.state.metrics.render().splitlines()
        return int(float(next(one for one in shown if one.startswith(line)).split()[1]))

    def close(self) -> None:
        self._vault.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_a_newer_release_is_taken_whole(site: Site) -> None:
    site.keeper.load()
    assert site.version is None
    site.lay_down(site.release(1))
    site.keeper.look()
    first = site.state.view
    assert first is not None
    assert first.here.city == "Singapore"
    assert set(first.pair_keys) == {"fra", "cgk"}
    site.lay_down(site.release(2, city="Elsewhere"))
    site.keeper.look()
    assert site.version == 2
    assert site.state.view is not None
    assert site.state.view.here.city == "Elsewhere"
    assert first.here.city == "Singapore"
    assert b"selvedge_release_version 2.0" in site.state.metrics.render()
    assert site.refused == 0


def test_the_kept_release_serves_without_an_inbox(site: Site) -> None:
    site.lay_down(site.release(4))
    site.keeper.load()
    Path(site.settings.release_file).unlink()
    site.restart()
    site.keeper.load()
    assert site.version == 4


def test_an_inbox_older_than_what_is_kept(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.lay_down(site.release(4))
    site.keeper.load()
    site.lay_down(site.release(3))
    site.restart()
    with caplog.at_level(logging.INFO):
        site.keeper.load()
    assert (site.version, site.refused) == (4, 0)
    assert "release not taken: version: 3 is not newer than 4" in caplog.text


def bad_releases(site: Site) -> dict[str, tuple[Release, bytes, str]]:
    without = msgspec.structs.replace(
        site.release(9), pops=tuple(pop for pop in site.release(9).pops if pop.id != "sin")
    )
    low_order = msgspec.structs.replace(
        site.release(9),
        pops=(
            site.release(9).pop("sin"),
            msgspec.structs.replace(make_pop("fra"), public_key="A" * 43 + "="),
        ),
    )
    return {
        "another operator": (site.release(9), bytes(32), "signature: is not the operator's"),
        "not among the PoPs": (without, OPERATOR, "pops: this PoP, 'sin', is not among them"),
        "another identity": (
            site.release(9, public_key=pop_public_key(bytes(32))),
            OPERATOR,
            "pops.sin.public_key: is not the key on this PoP's disk",
        ),
        "a peer's key of low order": (low_order, OPERATOR, "pops.fra.public_key: is not an X25519"),
    }


@pytest.mark.parametrize(
    "kind",
    ["another operator", "not among the PoPs", "another identity", "a peer's key of low order"],
)
def test_a_bad_release_leaves_the_last_good_one(
    site: Site, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.lay_down(site.release(1))
    site.keeper.load()
    before = site.state.view
    release, operator, words = bad_releases(site)[kind]
    site.lay_down(release, operator)
    site.keeper.look()
    site.keeper.look()
    assert site.state.view is before
    assert site.refused == 1
    assert f"release refused, the last good one serves on: {words}" in caplog.text
    site.restart()
    site.keeper.load()
    assert site.version == 1
    site.lay_down(site.release(10))
    site.keeper.look()
    assert site.version == 10


def test_garbage_in_the_inbox(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    Path(site.settings.release_file).write_bytes(b"{")
    site.keeper.load()
    assert (site.version, site.refused) == (None, 1)
    assert "is not a signed release" in caplog.text


def test_a_damaged_kept_release_gives_way_to_the_inbox(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.lay_down(site.release(1))
    site.keeper.load()
    (site.kept / "release.json").write_bytes(b"{")
    site.restart()
    site.keeper.load()
    assert site.version == 1
    assert "the kept release is refused" in caplog.text


def test_a_release_that_cannot_be_kept_serves_all_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    site.lay_down(site.release(1))
    monkeypatch.setattr("selvedge.adapters.release_store.os.fsync", full)
    site.keeper.load()
    assert site.version == 1
    assert "cannot be written: No space left on device" in caplog.text


def test_the_pepper_must_be_there(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.close()
    Path(site.settings.pepper_file).unlink()
    with pytest.raises(StoreFailed, match=r"pepper\.key cannot be read: No such file"):
        site.restart()


def test_a_book_closes_what_the_last_life_left(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    book = open_book(site.settings)
    book.intend(RECEIPT, WHO)
    with pytest.raises(StoreFailed, match="is in use by another process"):
        open_book(site.settings)
    book.close()
    book = open_book(site.settings)
    book.close()
    assert "after an unclean end: 1 interrupted requests, 0 torn bytes" in caplog.text
    text = b"".join(
        one.read_bytes() for one in Path(site.settings.state_dir).glob("receipts/*.log")
    )
    assert text.count(f'"outcome":"{Outcome.INTERRUPTED}"'.encode()) == 1


def test_an_end_that_was_never_synced_is_cut_and_kept_aside(site: Site) -> None:
    open_book(site.settings).close()
    (journal,) = Path(site.settings.state_dir).glob("receipts/*.log")
    good = journal.read_bytes()
    journal.write_bytes(good + b"R 00000000 {}\n\0\0\0\n\0")
    open_book(site.settings).close()
    assert journal.read_bytes() == good
    (aside,) = Path(site.settings.state_dir).glob("receipts/*.torn-*")
    assert aside.read_bytes() == b"R 00000000 {}\n\0\0\0\n\0"


def test_the_book_of_another_pop_is_refused(site: Site) -> None:
    open_book(site.settings).close()
    with pytest.raises(StoreCorrupt, match="state_dir of its own"):
        open_book(msgspec.structs.replace(site.settings, pop="other"))


def test_a_damaged_book_stops_the_start(site: Site) -> None:
    open_book(site.settings).close()
    (journal,) = Path(site.settings.state_dir).glob("receipts/*.log")
    good = journal.read_bytes()
    journal.write_bytes(good + b"R 00000000 {}\n" + good)
    with pytest.raises(StoreCorrupt, match=r"\.log: segment line 2: .*restore it or move it away"):
        open_book(site.settings)
