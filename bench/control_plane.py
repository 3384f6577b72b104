"""The control process of a bench's fleet: laid down beside it, started, killed, started again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.line import Heard, open_line
from selvedge.adapters import ChildFailed, ChildProcess, FleetConfig
from selvedge.control import ControlSettings, Home, free_port, seeding_of
from selvedge.control.home_control import named_control
from selvedge.fabric import Collector

READY_S_MAX = 60.0
PAGE = 1_000


class ControlPlane:
    """One home's. ``database`` is its URL; None: SQLite in the home."""

    def __init__(self, home: Home, database: str | None = None, *, wait_ms: int = 2_000) -> None:
        self._home = home
        self.settings = ControlSettings(
            home=str(home.directory.resolve()),
            database=database,
            admin_listen=f"127.0.0.1:{free_port()}",
            pops_listen=f"127.0.0.1:{free_port()}",
            release_after_ms=300,
            poll_ms=250,
            database_ms_max=wait_ms,
        )
        self.child: ChildProcess | None = None

    @property
    def port(self) -> int:
        """Of the admin API."""
        return int(self.settings.admin_listen.rpartition(":")[2])

    @property
    def log(self) -> Path:
        """What it says."""
        return self._home.log("control")

    def publish(
        self,
        config: FleetConfig,
        listen: Mapping[str, str],
        collectors: tuple[Collector, ...],
    ) -> None:
        """The first release, which names this process, and the store seeded from it."""
        self._home.publish(
            config,
            {},
            {},
            listen,
            collectors=collectors,
            control=named_control(self._home, self.settings),
            tenancy=seeding_of(self._home.directory, self.settings),
        )
        values = msgspec.to_builtins(self.settings)
        # JSON is YAML.
        path = self._home.directory / "control.yaml"
        path.write_bytes(msgspec.json.encode(values))
        path.chmod(0o600)

    async def start(self) -> ChildProcess:
        """Start it, and do not wait until it serves."""
        settings = str(self._home.directory / "control.yaml")
        argv = [sys.executable, "-m", "selvedge", "control", "run", "--settings", settings]
        self.child = await ChildProcess.start("control", argv, env=os.environ, log_path=self.log)
        return self.child

    async def ready(self) -> None:
        """Return when its API answers. Raises `ChildFailed`."""
        assert self.child is not None, "it was started"
        url = f"http://{self.settings.admin_listen}/healthz"
        await self.child.wait_ready(url, deadline_s=READY_S_MAX)

    async def kill(self) -> bool:
        """``kill -9``; False where it had ended by itself before."""
        child, self.child = self.child, None
        assert child is not None, "it was started"
        if child.exit_code is None:
            os.kill(child.pid, signal.SIGKILL)
        return await child.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """End it in order."""
        child, self.child = self.child, None
        if child is not None:
            await child.stop()

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """The bytes of a request of the admin API, by this machine's admin key."""
        sent = b"" if body is None else msgspec.json.encode(body)
        lines = [
            f"{method} /admin/v1{path} HTTP/1.1",
            f"host: {self.settings.admin_listen}",
            f"authorization: Bearer {self._home.admin_key()}",
            "content-type: application/json",
            f"content-length: {len(sent)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + sent

    async def ask(self, method: str, path: str, body: object = None) -> Heard:
        """One request on a connection of its own. Raises `OSError` where nobody listens."""
        line = await open_line(self.port)
        try:
            return await line.ask(self.request(method, path, body))
        finally:
            line.close()


def json_of(heard: Heard) -> object:
    """The body of an answer that came with its length."""
    return msgspec.json.decode(heard.raw.partition(b"\r\n\r\n")[2])


async def list_all(plane: ControlPlane, path: str) -> list[dict[str, Any]]:  # Any: JSON
    """All pages of a list. Raises `ChildFailed` where a page is refused."""
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        heard = await plane.ask("GET", f"{path}?limit={PAGE}{after}")
        page = json_of(heard)
        if heard.status != 200 or not isinstance(page, dict):
            raise ChildFailed(f"GET {path}: {heard.status} {page}")
        rows += page["data"]
        if page["next"] is None:
            return rows
        after = f"&after={page['next']}"
