"""The keeper of a PoP with several workers: holds the sockets, starts workers, replaces them.

It serves nobody and decides nothing about requests. Each slot has a listening socket of its own on
the one address (`SO_REUSEPORT`: the kernel spreads connections evenly), which the keeper holds open
for ever: what waits in its queue when a worker ends is accepted by the next, nothing is refused. A
worker is a fresh interpreter. SIGTERM drains all; SIGHUP replaces them one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import (
    PARENT_VARIABLE,
    Memory,
    SharedTickets,
    is_free,
    journal_of,
    journals_of,
    keep_secret,
    keep_whole,
)
from selvedge.fabric import SelvedgeError
from selvedge.pop.answered_together import AnsweredTogether, Shape, settle_left
from selvedge.pop.clock import now_us
from selvedge.pop.peering import Peering
from selvedge.pop.process import IDENTITY_FILE
from selvedge.pop.pulse import Pulse
from selvedge.pop.settings import Settings, host_and_port
from selvedge.pop.shared import Shared, bytes_for
from selvedge.pop.shipping_beside import ship_beside
from selvedge.pop.workers import PART_VARIABLE, READY, Part, layout

READY_S_MAX: Final = 30.0
LIVED_S: Final = 10.0
"""A worker that lived so long is started again at once."""
BACK_OFF_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
BACKLOG: Final = 4096
LOOK_S: Final = 1.0
"""How often the keeper looks whether the workers' loops go round."""
LAST_WORDS_S: Final = 0.5
"""How long one that stands still may take to write down where."""

log: Final = logging.getLogger("selvedge.keeper")


class _Process:
    """One worker process, from its start to its end."""

    def __init__(self, part: Part, process: asyncio.subprocess.Process, said: int) -> None:
        self.part = part
        self.started = time.monotonic()
        self.said = b""
        self.is_asked_to_end = False
        self._process = process
        self._ready = asyncio.get_running_loop().create_future()
        self._fd = said
        asyncio.get_running_loop().add_reader(said, self._hear)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    @property
    def is_settling(self) -> bool:
        """Whether it may still hold the journals that it was told to settle."""
        return not self._ready.done()

    def _hear(self) -> None:
        self.said = os.read(self._fd, 1)
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self._ready.set_result(None)

    async def serves(self) -> bool:
        """Wait until it serves; False where it ended before, or is late."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S_MAX):
                await asyncio.shield(self._ready)
        return self.said != b""

    async def wait(self) -> int:
        return await self._process.wait()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL when the grace is over."""
        self.is_asked_to_end = True
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.wait()
        except TimeoutError:
            log.error("worker %d (process %d) does not end; killed", self.part.slot, self.pid)
            self.signal(signal.SIGKILL)
            await self.wait()


class Keeper:
    """Workers by slot. ``argv`` starts one: the command line of this process."""

    def __init__(self, settings: Settings, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._settings = settings
        self._argv = list(argv)
        self._env = dict(env)
        self._directory = Path(settings.state_dir)
        # A worker and who replaces it; the last row is the keeper's own, who ships.
        self._rows = 2 * settings.workers + 1
        self._cells = Memory.shared("selvedge-cells", bytes_for(self._rows))
        self._tickets = Memory.shared("selvedge-tickets", SharedTickets.bytes_for())
        shape = Shape(settings.idempotency_keys_max, settings.idempotency_bytes_max)
        self._answers, self._answers_shape = shape.new_memory(), shape
        self._claims = AnsweredTogether(self._answers, shape, 0, os.getpid()).claims
        self.shared = Shared(self._cells, self._rows, self._rows - 1)
        self._started_us = now_us()
        self._sockets = {"listen": open_sockets(settings)}
        if settings.peer_listen is not None:
            self._sockets["peer_listen"] = open_sockets(settings, "peer_listen")
        self._alive: list[_Process] = []
        self._now: dict[int, _Process] = {}
        self._starting = [asyncio.Lock() for _ in range(settings.workers)]
        self._spawning = asyncio.Lock()
        self._failures = [0] * settings.workers
        self._tending: set[asyncio.Task[object]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Start every worker. Raises `SelvedgeError` where one ends before it serves."""
        slots = range(self._settings.workers)
        started = [await self._spawn(slot, self._settings.workers) for slot in slots]
        served = await asyncio.gather(*(one.serves() for one in started))
        for slot, (one, serves) in enumerate(zip(started, served, strict=True)):
            if not serves:
                await self.stop()
                raise SelvedgeError(f"worker {slot} of PoP {self._settings.pop} did not start")
            self._now[slot] = one
            self._tend(one)
        log.info("PoP %s serves with %d workers", self._settings.pop, len(started))

    async def stop(self) -> None:
        """Drain every worker and wait for its end."""
        self._stopping = True
        for task in self._tending:
            task.cancel()
        grace_s = 2 * self._settings.drain_ms / 1000 + 5
        await asyncio.gather(*(one.stop(grace_s) for one in self._alive if not one.has_ended))

    async def roll(self) -> None:
        """Replace every worker by a new one, one slot after the other.

        A new worker that does not serve leaves the old one serving, and ends the replacing.
        """
        for slot in range(self._settings.workers):
            async with self._starting[slot]:
                old = self._now[slot]
                new = await self._started(slot)
                if new is not None and old.said == READY != new.said:
                    await new.stop(READY_S_MAX)
                    self._ended(new)
                    new = None
                if new is None:
                    log.error("worker %d: the new one does not serve; the old one does on", slot)
                    return
                self._now[slot] = new
                self._tend(new)
            await old.stop(2 * self._settings.drain_ms / 1000 + 5)
            log.info("worker %d: process %d for %d", slot, new.pid, old.pid)

    async def watch(self) -> None:
        """End workers whose loop stands still, until cancelled; others start in their slots."""
        pulse = Pulse(max(1, round(self._settings.worker_still_ms_max / 1000 / LOOK_S)))
        while True:
            await asyncio.sleep(LOOK_S)
            rounds = self.shared.rounds.each
            serving = {
                one.pid: one
                for one in self._alive
                if one.said == READY and not one.is_asked_to_end and not one.has_ended
            }
            counts = {pid: rounds[one.part.row] for pid, one in serving.items()}
            await asyncio.gather(*(self._end_still(serving[pid]) for pid in pulse.look(counts)))

    async def _end_still(self, one: _Process) -> None:
        """Have its stacks written to the log where it still can, and kill it."""
        still_ms = self._settings.worker_still_ms_max
        words = "worker %d: process %d stands still for %d ms (worker_still_ms_max); killed"
        log.error(words, one.part.slot, one.pid, still_ms)
        one.signal(signal.SIGUSR2)
        await asyncio.sleep(LAST_WORDS_S)
        one.signal(signal.SIGKILL)

    async def _spawn(self, slot: int, reserved: int = 0) -> _Process:
        """Start a process in a slot. ``reserved`` journals are not to be settled by it.

        One at a time: a row and a journal are taken when the process is there, not before.
        """
        async with self._spawning:
            return await self._spawn_alone(slot, reserved)

    async def _spawn_alone(self, slot: int, reserved: int) -> _Process:
        said, ready_fd = os.pipe2(os.O_CLOEXEC)
        part = self._part(slot, ready_fd, reserved)
        fds = [*(fd for slots in part.sockets.values() for fd in slots), ready_fd]
        fds += [part.cells_fd, part.tickets_fd, part.answers_fd]
        env = self._env | {
            PARENT_VARIABLE: str(os.getpid()),
            PART_VARIABLE: msgspec.json.encode(part).decode(),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=fds,
                start_new_session=True,  # Ctrl-C reaches the keeper alone
            )
        except OSError as error:
            os.close(said)
            raise SelvedgeError(f"worker {slot} cannot start: {error.strerror}") from error
        finally:
            os.close(ready_fd)
        one = _Process(part, process, said)
        self._alive.append(one)
        return one

    def _part(self, slot: int, ready_fd: int, reserved: int) -> Part:
        rows = {one.part.row for one in self._alive}
        numbers = {one.part.number for one in self._alive}
        for one in self._alive:
            if one.is_settling:
                numbers |= set(one.part.settle)
        number = 0
        while number in numbers or not is_free(journal_of(self._directory, number)):
            number += 1
        settle: list[int] = []
        if slot == 0:
            owned = numbers | {number} | set(range(reserved))
            settle = [one for one in journals_of(self._directory) if one not in owned]
        return Part(
            slot=slot,
            number=number,
            row=next(row for row in range(self._rows - 1) if row not in rows),
            rows=self._rows,
            sockets={
                name: tuple(one.fileno() for one in socks) for name, socks in self._sockets.items()
            },
            cells_fd=self._cells.fd,
            tickets_fd=self._tickets.fd,
            answers_fd=self._answers.fd,
            answers=self._answers_shape,
            ready_fd=ready_fd,
            started_us=self._started_us,
            layout=layout(),
            pop=self._settings.pop,
            state_dir=self._settings.state_dir,
            settle=tuple(settle),
        )

    def _ended(self, one: _Process) -> None:
        """A process is no more: its row, its journal and the keys that it held are free."""
        if one in self._alive:
            self._alive.remove(one)
            self.shared.ended(one.part.row)
            receipts = journal_of(self._directory, one.part.number) / "receipts"
            self._see_to(settle_left(self._claims, one.pid, receipts))

    def _tend(self, one: _Process) -> None:
        self._see_to(self._outlive(one))

    def _see_to(self, what: Coroutine[None, None, object]) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tending.add(task)
        task.add_done_callback(self._tending.discard)

    async def _outlive(self, one: _Process) -> None:
        """Wait for a worker's end; where it was not asked for, start another in its slot."""
        slot = one.part.slot
        code = await one.wait()
        self._ended(one)
        if self._now[slot] is not one:
            return  # it was replaced
        log.error("worker %d: process %d ended with code %d", slot, one.pid, code)
        lived_s = time.monotonic() - one.started
        self._failures[slot] = 0 if lived_s > LIVED_S else self._failures[slot]
        async with self._starting[slot]:
            while self._now[slot].has_ended and not self._stopping:
                delay_s = BACK_OFF_S[min(self._failures[slot], len(BACK_OFF_S) - 1)]
                self._failures[slot] += 1
                log.error("worker %d: another starts in %g s", slot, delay_s)
                await asyncio.sleep(delay_s)
                new = await self._started(slot)
                if new is not None:
                    self._now[slot] = new
                    self._tend(new)

    async def _started(self, slot: int) -> _Process | None:
        """A new process that serves; None where there is none, which has been said."""
        try:
            new = await self._spawn(slot)
        except SelvedgeError as error:
            log.error("%s", error)
            return None
        if await new.serves():
            return new
        await new.stop(READY_S_MAX)
        self._ended(new)
        log.error("worker %d: process %d did not come to serve", slot, new.pid)
        return None


def open_sockets(settings: Settings, name: str = "listen") -> list[socket.socket]:
    """A listening socket a worker, on one address. Raises where another process has it."""
    address: str = getattr(settings, name)
    host, port = host_and_port(address)
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # With SO_REUSEPORT a second PoP would quietly take half the connections: look first.
        with socket.socket(info[0]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(info[4])
        found: list[socket.socket] = []
        for _ in range(settings.workers):
            sock = socket.socket(info[0])
            found.append(sock)
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            sock.bind(found[0].getsockname() if len(found) > 1 else info[4])
            sock.setblocking(False)
        for sock in found:
            sock.listen(BACKLOG)
    except OSError as error:
        raise SelvedgeError(
            f"PoP {settings.pop} cannot listen on {address}: {error.strerror}; "
            f"stop what uses it or change {name!r}"
        ) from error
    return found


async def run_keeper(settings: Settings, argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Keep the workers of a PoP until SIGTERM or SIGINT; replace them on SIGHUP."""
    lock = keep_whole(Path(settings.state_dir))
    try:
        # Made once here, so that the workers do not race for it.
        identity = keep_secret(Path(settings.state_dir) / IDENTITY_FILE, os.urandom(32))
        Peering(settings).open()
        keeper = Keeper(settings, argv, env)
        loop = asyncio.get_running_loop()
        stop, roll = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, roll.set)
        await keeper.start()
        beside = [
            loop.create_task(_roll_when_asked(keeper, roll)),
            loop.create_task(keeper.watch()),
            loop.create_task(ship_beside(settings, identity, keeper.shared)),
        ]
        await stop.wait()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await keeper.stop()
    finally:
        os.close(lock)


async def _roll_when_asked(keeper: Keeper, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await keeper.roll()
        except SelvedgeError as error:
            log.error("workers are not replaced: %s", error)
