"""Databases of the tests: SQLite in a file, and a PostgreSQL of our own, started for the session.

    database_url  a fixture: an empty database, once of each kind

PostgreSQL refuses to run as root: where the tests do, its programs run as its own user. Where it is
not installed, tests that want it are skipped and say so.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from selvedge.control import free_port

START_S = 60.0
QUIT_S = 10.0  # of a server that is told to drop everything; a busy machine adds to it
BACKENDS = ("sqlite", "postgresql")
# Commits are written before they are answered: a server that is stopped as by a crash has them.
_SETTINGS = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB")


def find_postgres() -> Path | None:
    """The folder of its programs, of the newest version installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class NoSmallDisk(Exception):
    """This machine lets us mount none; the words say why."""


class SmallDisk:
    """A file system in memory that a test can fill; gone with `close`. Raises `NoSmallDisk`."""

    def __init__(self, mebibytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="selvedge-disk-"))
        argv = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(self.folder)]
        try:
            done = subprocess.run(argv, capture_output=True, check=False, timeout=START_S)
            why = done.stderr.decode().strip() if done.returncode else ""
        except OSError as error:
            why = f"mount: {error.strerror}"
        if why:
            self.folder.rmdir()
            raise NoSmallDisk(f"no tmpfs can be mounted here ({why}); run this as root")

    def fill(self) -> None:
        """Leave not one byte."""
        with (self.folder / "ballast").open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        pass

    def clear(self) -> None:
        """Give back what `fill` took."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True, timeout=START_S)
        self.folder.rmdir()


class Postgres:
    """One server, over a folder that is removed with it; ``disk``: on a small disk of its own."""

    def __init__(self, programs: Path, disk: SmallDisk | None = None) -> None:
        self._programs = programs
        where = disk.folder if disk is not None else None
        self.folder = Path(tempfile.mkdtemp(prefix="selvedge-postgres-", dir=where))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self._user = _owner()
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
            if where is not None:
                where.chmod(0o755)
        more = ("--wal-segsize=1",) if disk is not None else ()
        own = ("-U", "selvedge", "-A", "trust", "-E", "UTF8", *more)
        self._run("initdb", "-D", str(self.data), *own)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, name: str = "postgres", port: int | None = None) -> str:
        """Of one of its databases; through another port where something stands before it."""
        return f"postgresql://selvedge@127.0.0.1:{port or self.port}/{name}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = [word for one in _SETTINGS for word in ("-c", one)]
        argv = [str(self._programs / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        argv += ["-c", f"unix_socket_directories={self.folder}", "-h", "127.0.0.1", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdout=log, stderr=log, **_identity(self._user), cwd=self.folder
            )
        self._wait_ready()

    def _wait_ready(self) -> None:
        # pg_isready waits by itself for a reply; each try is bounded, and so is their number.
        argv = ["pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1", "-q"]
        for _ in range(100_000):
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()
            if self._run(*argv, check=False) == 0:
                return
        raise AssertionError("PostgreSQL did not start")

    def stop(self) -> None:
        """As a crash: connections break, nothing is waited for."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(QUIT_S)
            except subprocess.TimeoutExpired:
                # It looks at its children once a minute: one that misses its signal is waited for.
                self.kill()
            self._process = None

    def processes(self) -> list[int]:
        """The server and all that it started."""
        if self._process is None or self._process.poll() is not None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [self._process.pid, *map(int, children.read_text().split())]

    def freeze(self) -> None:
        """Nothing of it runs on, and no connection breaks."""
        self._frozen = self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it was."""
        for pid in self._frozen:
            _send(pid, signal.SIGCONT)
        self._frozen = []

    def kill(self) -> None:
        """As when the machine dies."""
        self._signal(signal.SIGKILL)
        self.reap()

    def reap(self) -> None:
        """Wait for its end."""
        if self._process is not None:
            self._process.wait(START_S)
            self._process = None

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return bool(self.processes())

    def _signal(self, number: signal.Signals) -> list[int]:
        # The server first: it starts nobody then. The kernel's list of children may leave one out
        # while others end, so it is read again until it names nobody new.
        done: list[int] = []
        while new := [pid for pid in self.processes() if pid not in done]:
            for pid in new:
                _send(pid, number)
            done += new
        return done

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def make_database(self) -> str:
        """The URL of a new one."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with contextlib.closing(psycopg.connect(self.url(), autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def _run(self, program: str, *words: str, check: bool = True) -> int:
        done = subprocess.run(
            [str(self._programs / program), *words],
            cwd=self.folder,
            capture_output=True,
            check=False,
            timeout=START_S,
            **_identity(self._user),
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.returncode


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _owner() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("postgres")


def _identity(user: pwd.struct_passwd | None) -> dict[str, int]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for all tests that do not stop it."""
    with running_postgres() as server:
        yield server


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """One of its own. Skips where PostgreSQL is not installed."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    server = Postgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: each test runs on every kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'control.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.make_database()


class SlowProxy:
    """Stands before a server and holds back each thing it says for `delay_s`, until `end`."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.connections = 0
        self._to = port
        self._ended = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._run(self._accept)

    def _run(self, work: Callable[..., None], *words: object) -> None:
        thread = threading.Thread(target=work, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(("127.0.0.1", self._to))
                except OSError:  # nobody listens there now
                    client.close()
                    continue
                self._open += [client, server]
                self._run(self._pump, client, server, False)
                self._run(self._pump, server, client, True)

    def _pump(self, source: socket.socket, target: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if slow and self.delay_s:
                    self._ended.wait(self.delay_s)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Let go of everything, at once."""
        self._ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in self._open:
            one.close()
