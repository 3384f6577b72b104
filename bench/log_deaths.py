"""A PoP's log dies a thousand times by ``kill -9``, at its own writes, and is held to account.

Each life is a process of its own that logs what lies in two journals, while receipts are added to
them. Half of the lives end at a write: before it, after it, or in the middle of an append, by the
process's own SIGKILL; the others from outside, at any moment. Nothing of a life is left but its
files. Every checkpoint that was ever published is kept; in the end each begins the newest, and each
receipt whose write and sync had returned is in the log exactly once.
"""

from __future__ import annotations

import os
import select
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from bench.figures import Figures
from bench.log import Bench, request_lines
from bench.log_watch import Watch
from selvedge.adapters import FolderFiles, LogStore, journal_of, segment_path
from selvedge.ledger import SegmentHeader, receipts_of, write_line
from selvedge.pop.log_writer import LOG_FOLDER, PopLog

LIFE_S_MAX = 0.08
WRITES_MAX = 60
COMMITS = 6
JOURNALS = (0, 3)
NOTED = "noted"
CHECKPOINT = "checkpoint"


class Deadly(FolderFiles):
    """A folder whose process kills itself at one of its writes."""

    def __init__(self, folder: Path, dies_at: int, rng: Random) -> None:
        super().__init__(folder)
        self._left = dies_at
        self._rng = rng

    def _write_now(self, write: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        self._left -= 1
        kind = self._rng.randrange(3) if self._left == 0 else -1
        if kind == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == 1 and half is not None:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        write()
        if kind >= 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self, path: str, data: bytes) -> None:
        """Dies before, after, or with a draft left behind."""
        draft = self.folder / f"{path}.draft"
        half = data[: len(data) // 2]
        self._write_now(
            lambda: FolderFiles.put(self, path, data),
            lambda: None if not draft.parent.exists() else draft.write_bytes(half) and None,
        )

    def replace(self, path: str, data: bytes) -> None:
        """Dies before or after. What is published is noted down for who watches."""
        self._write_now(lambda: FolderFiles.replace(self, path, data))
        if path.endswith(f"/{CHECKPOINT}"):
            with (self.folder / NOTED).open("ab") as file:
                file.write(path.encode() + b"\n" + data + b"\0")

    def append(self, path: str, data: bytes) -> None:
        """Dies before, in the middle, or after."""
        cut = self._rng.randrange(len(data) + 1)
        self._write_now(
            lambda: FolderFiles.append(self, path, data),
            lambda: FolderFiles.append(self, path, data[:cut]),
        )

    def sync(self, paths: Iterable[str]) -> None:
        """Dies before or after."""
        wanted = list(paths)
        self._write_now(lambda: FolderFiles.sync(self, wanted))

    def remove(self, path: str) -> None:
        """Dies before or after."""
        self._write_now(lambda: FolderFiles.remove(self, path))

    def cut(self, path: str, size: int) -> None:
        """Dies before or after."""
        self._write_now(lambda: FolderFiles.cut(self, path, size))


class Lives:
    """The lives of one log."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._bench = Bench(directory)
        self._rng = Random(seed)
        self._count = 0
        self._segments = dict.fromkeys(JOURNALS, 1)
        self._folder = directory / LOG_FOLDER
        self.watch = Watch([self._folder])
        self.deaths = 0
        for number in JOURNALS:
            self._path(number).parent.mkdir(parents=True)
            self._path(number).write_bytes(write_line(SegmentHeader("bench", 1, {})))

    def _path(self, number: int) -> Path:
        receipts = journal_of(self._bench.path, number) / "receipts"
        return segment_path(receipts, self._segments[number])

    def write(self, count: int) -> None:
        """Receipts whose write and sync return: acknowledged, and to be in the log."""
        for number in JOURNALS:
            if self._rng.random() < 0.02:
                self._segments[number] += 1
                header = write_line(SegmentHeader("bench", self._segments[number], {}))
                self._path(number).write_bytes(header)
            with self._path(number).open("ab") as file:
                for _ in range(count):
                    self._count += 1
                    file.write(request_lines(self._count))
                file.flush()
                os.fsync(file.fileno())

    def live(self) -> None:
        """One life, to its death."""
        kills_itself = self._rng.random() < 0.5
        dies_at = self._rng.randint(1, WRITES_MAX) if kills_itself else 0
        seed = self._rng.random()
        pid = os.fork()
        if pid == 0:
            try:
                self._child(dies_at, Random(seed))
            except Exception:  # noqa: BLE001 (its end is told by its status)
                traceback.print_exc()
            finally:
                os._exit(1)
        life_s = self._rng.uniform(0.0, LIFE_S_MAX) if not kills_itself else 10.0
        self.write(self._rng.randrange(12))
        self._await_death(pid, life_s)
        self.watch.look()

    def _await_death(self, pid: int, life_s: float) -> None:
        descriptor = os.pidfd_open(pid)
        try:
            late = time.monotonic() + life_s
            while time.monotonic() < late:
                self.watch.look()
                if select.select([descriptor], [], [], 0.005)[0]:
                    break
            else:
                os.kill(pid, signal.SIGKILL)
        finally:
            os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"a life ended by itself, with status {status}")
        self.deaths += 1

    def _child(self, dies_at: int, rng: Random) -> None:
        log = self._log(Deadly(self._folder, dies_at, rng))
        log.open()
        for _ in range(COMMITS):
            _turn(log)
        os.kill(os.getpid(), signal.SIGKILL)

    def _log(self, files: FolderFiles) -> PopLog:
        log = PopLog(self._bench.settings)
        why = log.key(self._bench.release)
        assert why is None, why
        log.store = LogStore(files, log._sign, segment_bytes_max=4_000)
        return log

    def audit(self) -> Figures:
        """One more life, which ends well; and what there is to say of all of them."""
        log = self._log(FolderFiles(self._folder))
        log.open()
        _turn(log)
        self.watch.look()
        for one in (self._folder / NOTED).read_bytes().split(b"\0")[:-1]:
            path, _, note = one.partition(b"\n")
            self.watch.take(self._folder, path.decode().split("/")[1], note)
        held = Counter(one for one in self.watch.entries(self._folder) if len(one) == 32)
        wanted: Counter[bytes] = Counter()
        for number in JOURNALS:
            for path in (journal_of(self._bench.path, number) / "receipts").glob("*.log"):
                lines = path.read_bytes().splitlines(keepends=True)
                wanted.update(one.leaf() for one in receipts_of(lines))
        return {
            "deaths": self.deaths,
            "leaves": self._count,
            "checkpoints_seen": self.watch.checkpoints,
            "log_lost": (wanted - held).total(),
            "log_double": (held - wanted).total(),
            "log_contradictions": len(self.watch.contradictions),
            "log_inconsistent": len(self.watch.inconsistent()),
        }


def _turn(log: PopLog) -> None:
    log.look()
    log.look()
    while log.read():
        pass
    log.commit()
    log.turn_month()


def measure(deaths: int, seed: int, on_death: Callable[[], None]) -> Figures:
    """So many deaths: the figures."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="selvedge-torture-") as directory:
        lives = Lives(Path(directory), seed)
        while lives.deaths < deaths:
            lives.live()
            on_death()
        figures = lives.audit()
    return {**figures, "took_s": round(time.perf_counter() - begun, 1)}


BARS = ("log_lost", "log_double", "log_contradictions", "log_inconsistent")
