"""What is measured: the mock itself ("direct"), nginx, our PoP, and gateways of others.

Each is started as its operator would start it, on the core of the server under test, and asked with
the same bytes but for the host header: every request carries our key and Portkey's two headers, and
who does not need them ignores them.

direct     the mock itself: what load and mock can do, the headroom
nginx      a bare proxy, one worker, upstream keep-alive: the limit; no key, no rule, no receipt
selvedge   `selvedge pop` with a signed release: key checked, residency, routing, an intent and a
           receipt on disk for each request, metrics, failover bookkeeping
litellm    `litellm --config`, one worker, no database, no callbacks; a master key, compared in
           memory (it does not start without one)
portkey    Portkey's open gateway on Node, one process; it checks no key of its own
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.gateway.install import Tools
from bench.gateway.processes import BenchFailed, Cores, rss_bytes, running, wait_until
from selvedge.control import free_port

HERE = Path(__file__).parent
PATH = "/v1/chat/completions"
START_S_MAX = 120.0
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server that answers. ``start_s``: from its start to its first good answer."""

    name: str
    port: int
    pid: int
    key: str = "sk-none"
    start_s: float = 0.0
    rss_idle: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a measurement happens: tools, cores, scratch directory, and the running mock."""

    tools: Tools
    cores: Cores
    directory: Path
    mock_port: int


def request_bytes(bench: Bench, target: Target, model: str, body_bytes: int) -> bytes:
    """One request whose body has exactly ``body_bytes``; streamed where the model streams."""
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": ""}]}
    if model.startswith("sse"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    text = "Weave. " * (body_bytes // 7 + 1)
    room = max(1, body_bytes - len(json.dumps(body)))
    body["messages"] = [{"role": "user", "content": text[:room]}]
    data = json.dumps(body).encode()
    head = [
        f"POST {PATH} HTTP/1.1",
        f"host: 127.0.0.1:{target.port}",
        "content-type: application/json",
        f"content-length: {len(data)}",
        f"authorization: Bearer {target.key}",
        "x-portkey-provider: openai",
        f"x-portkey-custom-host: http://127.0.0.1:{bench.mock_port}/v1",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def request_file(bench: Bench, target: Target, model: str, body_bytes: int) -> Path:
    """The request as a file for the load generator."""
    path = bench.directory / f"request-{target.name}-{target.port}-{model}-{body_bytes}"
    if not path.exists():
        path.write_bytes(request_bytes(bench, target, model, body_bytes))
    return path


@contextlib.contextmanager
def open_bench(tools: Tools, cores: Cores, directory: Path) -> Iterator[tuple[Bench, Target]]:
    """Start the mock; the bench and the mock as the target "direct"."""
    port = free_port()
    argv = [str(tools.mock), str(port)]
    bench = Bench(tools, cores, directory, port)
    with running(argv, cores.load, directory / "mock.log") as process:
        target = Target("direct", port, process.pid)
        wait_until(lambda: answers(bench, target), process, START_S_MAX)
        yield bench, target


def answers(bench: Bench, target: Target) -> bool:
    """Whether a small request is answered with 200 there."""
    request = request_bytes(bench, target, "json", 500)
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[2:]
    headers = dict(line.split(": ", 1) for line in lines)
    line = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    try:
        line.request("POST", PATH, body, headers)
        answer = line.getresponse()
        return answer.status == 200 and b'"usage"' in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


@contextlib.contextmanager
def started(bench: Bench, name: str, env: Mapping[str, str] | None = None) -> Iterator[Target]:
    """One target, until the block ends; ``env`` is added to its environment.

    Raises `BenchFailed` where it does not serve.
    """
    directory = bench.directory / f"{name}-{time.monotonic_ns()}"
    directory.mkdir(mode=0o711)
    port = free_port()
    start = STARTS[name](bench, directory, port)
    log, core = directory / "log", bench.cores.server
    with running(start.argv, core, log, {**start.env, **(env or {})}) as process:
        try:
            start_s = wait_until(lambda: start.ready(port), process, START_S_MAX)
            rss = _settled(process.pid)
            target = Target(name, port, process.pid, start.key, start_s, rss)
            if not answers(bench, target):
                raise BenchFailed("it does not answer a request of this bench with 200")
        except BenchFailed as error:
            tail = log.read_text("utf-8", "replace")[-2000:]
            raise BenchFailed(f"{name}: {error}; --targets leaves it out\n{tail}") from error
        yield target


def _settled(pid: int) -> tuple[int, ...]:
    """Memory after a start, once what starts lazily has had its time."""
    time.sleep(SETTLE_S)
    return tuple(rss_bytes(pid))


@dataclass(frozen=True, slots=True)
class Start:
    """How a target is started, and how one sees that it serves."""

    argv: list[str]
    env: Mapping[str, str]
    ready: Callable[[int], bool]
    key: str = "sk-none"


def page_is_200(path: str) -> Callable[[int], bool]:
    """Whether a page answers 200."""

    def ready(port: int) -> bool:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            line.request("GET", path)
            return line.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            line.close()

    return ready


def filled(bench: Bench, name: str, port: int, directory: Path) -> Path:
    """A configuration of this directory, with the ports of this run."""
    text = (HERE / name).read_text("utf-8")
    text = re.sub(r"127\.0\.0\.1:9401\b", f"127.0.0.1:{bench.mock_port}", text)
    text = re.sub(r"127\.0\.0\.1:94[12]0\b", f"127.0.0.1:{port}", text)
    path = directory / name
    path.write_text(text, "utf-8")
    return path


def start_nginx(bench: Bench, directory: Path, port: int) -> Start:
    """nginx on its configuration."""
    bench.directory.chmod(0o711)
    config = filled(bench, "nginx.conf", port, directory)
    argv = [bench.tools.nginx, "-p", str(directory), "-e", "stderr", "-c", str(config)]
    # Any page of the mock does.
    return Start(argv, {}, page_is_200("/"))


def start_selvedge(bench: Bench, directory: Path, port: int) -> Start:
    """The PoP as `make up` runs it and `make wheel` ships it: its hot path compiled."""
    done = subprocess.run(
        ["scripts/compile.sh", "--must"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchFailed(f"selvedge: {done.stderr}")
    start = start_interpreted(bench, directory, port)
    return replace(start, env={"PYTHONPATH": str(Path("build/compiled").resolve())})


def start_interpreted(bench: Bench, directory: Path, port: int) -> Start:
    """A signed release and one `selvedge pop`, as an operator makes and starts them."""
    fleet = filled(bench, "fleet.yaml", port, directory)
    selvedge = [sys.executable, "-m", "selvedge"]
    publish = [*selvedge, "fleet", "publish", str(fleet), "--home", str(directory), "--json"]
    done = subprocess.run(publish, capture_output=True, text=True, check=False, env=_clean())
    if done.returncode:
        raise BenchFailed(f"selvedge: {done.stderr}")
    told = json.loads(done.stdout)
    settings = {
        "pop": "sin",
        "listen": f"127.0.0.1:{port}",
        "state_dir": told["state_dirs"]["sin"],
        "release_file": told["release_file"],
        "pepper_file": told["pepper_file"],
        "operator_public_key": told["operator_public_key"],
        "connections_max": 20_000,
        "deadline_ms_default": 3_600_000,
    }
    path = directory / "pop.yaml"
    path.write_text(json.dumps(settings), "utf-8")
    argv = [*selvedge, "pop", "--settings", str(path)]
    return Start(argv, {}, page_is_200("/readyz"), told["keys"]["bench"])


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "SELVEDGE" not in name}


def start_litellm(bench: Bench, directory: Path, port: int) -> Start:
    """LiteLLM's proxy on its configuration."""
    config = filled(bench, "litellm.yaml", port, directory)
    argv = [str(bench.tools.environment("litellm") / "bin" / "litellm")]
    argv += ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # The price table from its package and not from the network; no debug log.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True"}
    key = f"sk-{secrets.token_hex(32)}"
    return Start(argv, env | {"LITELLM_MASTER_KEY": key}, page_is_200("/health/liveliness"), key)


def start_portkey(bench: Bench, directory: Path, port: int) -> Start:
    """Portkey's gateway on Node."""
    node = shutil.which("node") or "node"
    package = bench.tools.environment("portkey") / "node_modules/@portkey-ai/gateway"
    argv = [node, str(package / "build/start-server.js"), "--headless", f"--port={port}"]
    return Start(argv, {"NODE_ENV": "production"}, page_is_200("/"))


STARTS: Mapping[str, Callable[[Bench, Path, int], Start]] = {
    "nginx": start_nginx,
    "selvedge": start_selvedge,
    "selvedge-interpreted": start_interpreted,
    "portkey": start_portkey,
    "litellm": start_litellm,
}
