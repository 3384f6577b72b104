"""The keeper's own affairs: sockets, journals without an owner, workers that cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from selvedge.adapters import (
    Memory,
    SharedTickets,
    is_free,
    journal_of,
    journals_of,
    keep_whole,
    read_segments,
)
from selvedge.fabric import BadSetting, Outcome, SelvedgeError, StoreFailed
from selvedge.ledger import receipts_of
from selvedge.pop import Settings
from selvedge.pop.keeper import _Process, open_sockets
from selvedge.pop.process import open_book, settle_books
from selvedge.pop.shared import bytes_for
from selvedge.pop.workers import PART_VARIABLE, Part, Worker, layout, take_part
from tests.adapters.test_journal_store import RECEIPT
from tests.adapters.test_receipt_book import WHO
from tests.pop.test_workers import owner
from tests.support import run
from tests.support.fabric import listening
from tests.support.wires import Wire
from tests.support.workers import Pop, running_pop


def settings(directory: Path, listen: str = "127.0.0.1:0") -> Settings:
    return Settings(
        pop="sin",
        listen=listen,
        state_dir=str(directory),
        release_file="-",
        operator_public_key="-",
        pepper_file="-",
        workers=2,
    )


def test_each_slot_has_a_socket_on_one_port(tmp_path: Path) -> None:
    socks = open_sockets(settings(tmp_path))
    assert len({sock.getsockname() for sock in socks}) == 1
    assert len(socks) == 2
    for sock in socks:
        sock.close()


def test_a_port_that_is_taken_is_not_shared(tmp_path: Path) -> None:
    with listening() as port, pytest.raises(SelvedgeError, match="Address already in use; stop"):
        open_sockets(settings(tmp_path, f"127.0.0.1:{port}"))


def test_a_state_directory_has_one_keeper(tmp_path: Path) -> None:
    held = keep_whole(tmp_path)
    with pytest.raises(StoreFailed, match="in use by another process"):
        keep_whole(tmp_path)
    os.close(held)
    os.close(keep_whole(tmp_path))


def test_a_journal_without_an_owner_is_settled(tmp_path: Path) -> None:
    own = settings(tmp_path)
    for number in (0, 1, 3):
        book = open_book(own, number)
        book.record(RECEIPT, WHO)
        book.intend(msgspec.structs.replace(RECEIPT, id=f"rcpt_open_{number}"), WHO)
        if number != 1:
            book.close()
    assert journals_of(tmp_path) == [0, 1, 3]
    assert [is_free(journal_of(tmp_path, number)) for number in (0, 1, 3)] == [True, False, True]
    settle_books(own, Worker(own, None).settle)
    found = {
        number: [
            (one.decode().worker, one.decode().seq, one.decode().outcome)
            for one in receipts_of(read_segments(journal_of(tmp_path, number) / "receipts"))
        ]
        for number in (1, 3)
    }
    first = RECEIPT.outcome
    assert found == {1: [(1, 1, first)], 3: [(3, 1, first), (3, 2, Outcome.INTERRUPTED)]}


def part(directory: Path, **changes: object) -> Part:
    cells, tickets = (
        Memory.shared("test", size) for size in (bytes_for(4), SharedTickets.bytes_for())
    )
    values = {
        "slot": 1,
        "number": 2,
        "row": 3,
        "rows": 4,
        "sockets": {"listen": (os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, 0))},
        "cells_fd": cells.fd,
        "tickets_fd": tickets.fd,
        "ready_fd": os.open(os.devnull, os.O_WRONLY),
        "started_us": 5,
        "layout": layout(),
        "pop": "sin",
        "state_dir": str(directory),
    }
    return Part(**(values | changes))  # type: ignore[arg-type]


def test_a_part_travels_in_the_environment(tmp_path: Path) -> None:
    handed = part(tmp_path)
    environment = {PART_VARIABLE: msgspec.json.encode(handed).decode(), "OTHER": "1"}
    assert take_part(environment) == handed
    assert environment == {"OTHER": "1"}
    assert take_part(environment) is None


def test_a_worker_knows_its_place(tmp_path: Path) -> None:
    worker = Worker(settings(tmp_path), part(tmp_path))
    assert worker.directory() == tmp_path / "workers" / "2"
    assert list(worker.uncovered()) == [0]
    worker.serves(released=True)
    assert worker.shared.slots() == {1}
    worker.leaves()
    assert worker.shared.workers() == 0


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"pop": "fra"}, BadSetting, "pop: is 'sin' now and 'fra' at the other workers"),
        ({"state_dir": "elsewhere"}, BadSetting, "at the other workers; stop the PoP"),
        ({"layout": "older"}, SelvedgeError, "this version counts otherwise"),
    ],
)
def test_a_worker_that_cannot_share_does_not_start(
    tmp_path: Path, changed: dict[str, str], error: type[SelvedgeError], words: str
) -> None:
    with pytest.raises(error, match=words):
        Worker(settings(tmp_path), part(tmp_path, **changed))


@contextlib.contextmanager
def damaged(pop: Pop, number: int) -> Iterator[None]:
    """A journal that does not open, until the end of the block."""
    path = journal_of(pop.state_dir, number) / "receipts" / "receipts-00000001.log"
    aside = path.rename(path.with_suffix(".aside"))
    path.write_bytes(b"no header\n" + aside.read_bytes())
    try:
        yield
    finally:
        aside.rename(path)


@pytest.mark.fabric
def test_a_worker_that_cannot_start_again_is_covered(tmp_path: Path) -> None:
    """The connections that the kernel gives to its socket are served by the other."""

    async def main() -> None:
        async with running_pop(tmp_path) as pop:

            async def refused() -> bool:
                return "segment line 1" in pop.log

            with damaged(pop, 1):
                os.kill(owner(pop, 1), signal.SIGKILL)
                await pop.until_workers(1)
                for _ in range(16):
                    async with Wire.to(pop.port) as wire:
                        assert (await wire.ask(pop.bearer, pop.body)).status == 200
                await pop.until(refused)
                async with Wire.to(pop.port) as wire:
                    assert (await wire.ask(pop.bearer, pop.body)).status == 200
            await pop.until_workers(2)

    run(main(), 60)


@pytest.mark.fabric
def test_a_roll_whose_new_worker_fails_leaves_the_old_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_pop(tmp_path) as pop:
            before = sorted(pop.children())
            path = pop.state_dir / "settings.yaml"
            path.write_bytes(path.read_bytes().replace(b'"pop"', b'"pops"'))
            pop.signal(signal.SIGHUP)

            async def told() -> bool:
                return "the new one does not serve; the old one does on" in pop.log

            await pop.until(told)
            assert sorted(pop.children()) == before
            assert (await pop.page("/health")).json["workers"] == 2

    run(main(), 60)


def test_an_end_that_comes_with_the_cancellation_does_not_swallow_it(tmp_path: Path) -> None:
    """SIGTERM to the keeper just when a replaced worker ends: the roll ends too (it went on)."""

    class Ending:
        """Stands for the process of a worker: it ends when the test says so."""

        pid, returncode = 1, None

        def __init__(self) -> None:
            self.ended = asyncio.get_running_loop().create_future()

        async def wait(self) -> int:
            return int(await asyncio.shield(self.ended))

        def send_signal(self, number: int) -> None:
            assert number == signal.SIGTERM

    async def cancelled_with(
        what: Coroutine[None, None, object], happens: Callable[[], None]
    ) -> None:
        task = asyncio.get_running_loop().create_task(what)
        await asyncio.sleep(0)
        happens()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def hear(one: _Process, ready: int) -> None:
        os.write(ready, b"R")
        one._hear()

    async def main() -> None:
        said, ready = os.pipe()
        process = Ending()
        one = _Process(part(tmp_path), cast(Any, process), said)
        await cancelled_with(one.stop(60), lambda: process.ended.set_result(0))
        await cancelled_with(one.serves(), lambda: hear(one, ready))
        os.close(ready)

    run(main())
