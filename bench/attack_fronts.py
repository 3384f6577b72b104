"""nginx and HAProxy in front of a backend, as lenient as they can be told to be.

A strict front hides what its backend would do; these hand on what they can. Both are programs of
the system, run in the foreground with their files in one directory, and stopped by process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from selvedge.adapters import ChildProcess
from selvedge.control import free_port

READY_S_MAX = 10.0

_NGINX = """\
daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/error.log crit;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir};
  upstream pop {{ server 127.0.0.1:{backend}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;
    large_client_header_buffers 8 128k; client_max_body_size 0;
    location / {{
      proxy_pass http://pop; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off;
    }}
  }}
}}
"""

_HAPROXY = """\
global
  maxconn 512
  tune.bufsize 131072
  tune.http.maxhdr 1024
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
  option accept-invalid-http-request
frontend in
  bind 127.0.0.1:{port}
  default_backend pop
backend pop
  http-reuse always
  server pop 127.0.0.1:{backend}
"""

Argv = Callable[[Path], list[str]]
FRONTS: dict[str, tuple[str, Argv]] = {
    "nginx": (_NGINX, lambda file: ["nginx", "-p", str(file.parent), "-c", str(file)]),
    "haproxy": (_HAPROXY, lambda file: ["haproxy", "-db", "-q", "-f", str(file)]),
}


def find(name: str) -> str | None:
    """Where a program of the system is, or None; daemons are often outside a user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.asynccontextmanager
async def front(name: str, backend: int, directory: Path) -> AsyncIterator[int]:
    """This front on a port of its own, before a backend on the loopback. Raises `ChildFailed`."""
    port = free_port()
    program, *rest = FRONTS[name][1](_write(name, port, backend, directory))
    process = await ChildProcess.start(
        name, [find(program) or program, *rest], env=os.environ, log_path=directory / f"{name}.log"
    )
    try:
        await _until_open(port, process)
        yield port
    finally:
        await process.stop(grace_s=2.0)


def _write(name: str, port: int, backend: int, directory: Path) -> Path:
    """The front's own file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.conf"
    file.write_text(FRONTS[name][0].format(dir=directory, port=port, backend=backend))
    return file


async def _until_open(port: int, process: ChildProcess) -> None:
    async with asyncio.timeout(READY_S_MAX):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if process.exit_code is not None:
                    log = process.log_path.read_text(encoding="utf-8", errors="replace")
                    raise RuntimeError(f"{process.name} did not start: {log[-500:]}") from None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
