"""The shipped proxies in front of a PoP, as real processes: nginx and HAProxy from the system.

    async with proxied("nginx", tmp_path, pop_port) as front:
        said = await front.curl("/healthz")

The example files run as they are, but for ports and paths. A test is skipped, with the word of
what is missing, where the machine has no such program.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from selvedge.control import free_port
from tests.support.certificates import write_pair

EXAMPLES = Path(__file__).parents[2] / "examples/proxies"
START_S_MAX = 10.0
SAY_S_MAX = 20.0
KINDS = ("nginx", "haproxy")
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Front:
    """A running proxy. `chain` is the certificate that it shows."""

    kind: str
    port: int
    chain: Path

    def argv(self, path: str, *words: str) -> list[str]:
        """A curl over TLS and HTTP/2, which prints what arrives when it arrives."""
        url = f"https://localhost:{self.port}{path}"
        where = ["--resolve", f"localhost:{self.port}:127.0.0.1", "--cacert", str(self.chain)]
        return [find("curl"), "-sS", "-N", "--http2", *where, *words, url]

    @contextlib.asynccontextmanager
    async def asking(self, path: str, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A curl that runs; it is ended with the block."""
        process = await asyncio.create_subprocess_exec(
            *self.argv(path, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            yield process
        finally:
            await end(process)

    async def curl(self, path: str, *words: str) -> str:
        """What one curl printed."""
        async with self.asking(path, *words) as process, asyncio.timeout(SAY_S_MAX):
            out, err = await process.communicate()
            assert process.returncode == 0, err
            return out.decode()


def find(program: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    place = ":".join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
    found = shutil.which(program) or shutil.which(program, path=place)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install {program})")
    return found


def find_curl_with_http2() -> str:
    """Curl, where it speaks HTTP/2; the test is skipped otherwise."""
    curl = find("curl")
    said = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout
    if "HTTP2" not in said:
        pytest.skip("this curl has no HTTP/2")
    return curl


@contextlib.asynccontextmanager
async def proxied(kind: str, directory: Path, pop_port: int) -> AsyncIterator[Front]:
    """The proxy of an example file in front of this PoP."""
    find_curl_with_http2()
    program = find(kind)
    chain, key = write_pair(directory / "front", 1)
    both = directory / "front" / "both.pem"
    both.write_bytes(chain.read_bytes() + key.read_bytes())
    port = free_port()
    paths = {"chain.pem": chain, "key.pem": key, "both.pem": both}
    file = directory / "front" / f"{kind}.conf"
    file.write_text(_adapted(kind, paths, port, pop_port))
    argv = [program, "-db", "-f", str(file)]
    if kind == "nginx":
        own = f"daemon off; pid {file.parent}/pid; error_log stderr;"
        argv = [program, "-p", str(file.parent), "-c", str(file), "-g", own]
    process = await asyncio.create_subprocess_exec(*argv, stderr=subprocess.PIPE)
    try:
        await _until_open(process, port)
        yield Front(kind, port, chain)
    finally:
        await end(process)


def _adapted(kind: str, paths: dict[str, Path], port: int, pop_port: int) -> str:
    """The shipped file with this machine's ports and paths, each of which it must name."""
    name = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[kind]
    text = (EXAMPLES / name).read_text("utf-8")
    changes = {
        "nginx": [
            ("        listen 443 ", f"        listen 127.0.0.1:{port} "),
            ("server 127.0.0.1:8101;", f"server 127.0.0.1:{pop_port};"),
        ],
        "haproxy": [
            ("bind :443 ", f"bind 127.0.0.1:{port} "),
            ("server pop 127.0.0.1:8101", f"server pop 127.0.0.1:{pop_port}"),
            ("    maxconn 16384", "    maxconn 200"),  # as few files as any machine allows
        ],
    }[kind]
    if kind == "nginx":
        own = "".join(f"    {one}_temp_path {paths['key.pem'].parent};\n" for one in _TEMPORARY)
        changes.append(("http {\n", f"http {{\n{own}"))
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return re.sub(r"/etc/selvedge/tls/([a-z.]+)", lambda found: str(paths[found[1]]), text)


async def _until_open(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until it takes connections; what it said where it ended instead."""
    async with asyncio.timeout(START_S_MAX):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=0.02)
                continue
            writer.close()
            return
    assert process.stderr is not None
    raise AssertionError((await process.stderr.read()).decode())


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    async with asyncio.timeout(START_S_MAX):
        await process.communicate()
