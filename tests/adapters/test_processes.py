"""Children start, are waited for, end, and do not outlive the one who started them."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selvedge.adapters.processes import PARENT_VARIABLE, ChildFailed, ChildProcess
from tests.support.engines import free_port

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(200 if Handler.asked > 2 else 503)
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

STUBBORN = """
import signal, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
threading.Event().wait()
"""

# The parent starts a child, says its process id and dies without a word to it.
ORPHAN_MAKER = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

ORPHAN = """
import threading
from selvedge.adapters.processes import die_with_parent
die_with_parent()
print("ready", flush=True)
threading.Event().wait()
"""

LATE = """
from selvedge.adapters.processes import die_with_parent
die_with_parent()
print("still here")
"""


async def start(tmp_path: Path, *argv: str) -> ChildProcess:
    command = (sys.executable, "-c", *argv)
    return await ChildProcess.start("child", command, env=os.environ, log_path=tmp_path / "log")


def test_ready_when_it_answers_200_and_stopped_by_sigterm(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        child = await start(tmp_path, SERVER, str(port))
        assert child.exit_code is None
        await child.wait_ready(f"http://127.0.0.1:{port}/health?deep=1", deadline_s=30)
        assert await child.stop() == -signal.SIGTERM
        assert await child.stop() == child.exit_code == await child.wait()

    asyncio.run(story())


def test_an_early_end_is_told_with_its_last_words(tmp_path: Path) -> None:
    async def story() -> None:
        child = await start(tmp_path, "import sys; print('x' * 9000); sys.exit('no weights')")
        with pytest.raises(
            ChildFailed, match=r"child ended with code 1; its last words: x+"
        ) as told:
            await child.wait_ready("http://127.0.0.1:9/", deadline_s=30)
        assert str(told.value).endswith("no weights")
        assert len(str(told.value)) < 2_100

    asyncio.run(story())


def test_only_the_words_of_this_start_are_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("old news\n")

    async def story() -> None:
        child = await start(tmp_path, "raise SystemExit(3)")
        with pytest.raises(ChildFailed, match=r"ended with code 3; it said nothing\.$"):
            await child.wait_said("old news", deadline_s=30)

    asyncio.run(story())


def test_late_is_told_and_the_child_runs_on(tmp_path: Path) -> None:
    async def story() -> None:
        child = await start(tmp_path, STUBBORN)
        await child.wait_said("deaf", deadline_s=30)
        with pytest.raises(ChildFailed, match=r"not ready in 0\.2 s; its last words: deaf"):
            await child.wait_ready(f"http://127.0.0.1:{free_port()}/", deadline_s=0.2)
        assert child.exit_code is None
        assert await child.stop(grace_s=0.1) == -signal.SIGKILL

    asyncio.run(story())


def test_a_lost_log_does_not_hide_the_failure(tmp_path: Path) -> None:
    async def story() -> None:
        child = await start(tmp_path, "raise SystemExit(4)")
        (tmp_path / "log").unlink()
        with pytest.raises(ChildFailed, match=r"code 4; its log .* cannot be read"):
            await child.wait_ready("http://127.0.0.1:9/", deadline_s=30)

    asyncio.run(story())


def test_no_such_program(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(ChildFailed, match="ghost cannot start: /no/such/program"):
            await ChildProcess.start(
                "ghost", ["/no/such/program"], env={}, log_path=tmp_path / "logs" / "log"
            )

    asyncio.run(story())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")
def test_a_child_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.run(
        [sys.executable, "-c", ORPHAN_MAKER, ORPHAN], capture_output=True, check=False, timeout=60
    )
    assert parent.returncode == -signal.SIGKILL
    pid, word = parent.stdout.decode().split()
    assert word == "ready"
    wait_gone(int(pid))


def wait_gone(pid: int) -> None:
    """Block until the process has ended: its file descriptor then becomes readable."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with select.epoll() as ending:
        ending.register(descriptor, select.EPOLLIN)
        assert ending.poll(timeout=30), "the orphan lives"
    os.close(descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")
@pytest.mark.parametrize(("parent", "code"), [("1", -signal.SIGTERM), (None, 0)])
def test_a_parent_that_was_gone_before_the_call(parent: str | None, code: int) -> None:
    env = {**os.environ, **({PARENT_VARIABLE: parent} if parent else {})}
    late = subprocess.run(
        [sys.executable, "-c", LATE], env=env, capture_output=True, check=False, timeout=60
    )
    assert late.returncode == code
    assert (late.stdout == b"") == bool(code)


PRIVATE = """
import os, resource, ctypes
from selvedge.adapters.processes import leave_no_core
leave_no_core()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
os.abort()
"""


def test_a_process_leaves_no_core(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRIVATE], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.strip() == "(0, 0) 0"
    assert done.returncode == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []
