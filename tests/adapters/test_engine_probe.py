"""The probe against a server that streams as engines do, and against the embedded engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from selvedge.adapters.engine_probe import Ask, EngineProbe, ProbeFailed
from selvedge.cli.sim_checks import fit_and_judge
from selvedge.sim import Shape
from tests.support.engines import free_port, running_engine


class Engine(BaseHTTPRequestHandler):
    """Streams what it is asked for; `asked` holds every body."""

    asked: ClassVar[list[dict[str, object]]] = []
    status = 200
    counts = True

    def do_GET(self) -> None:
        bodies = {"/v1/models": {"data": [{"id": "tiny"}]}, "/props": {"total_slots": 3}}
        self._head(200, "application/json")
        self.wfile.write(json.dumps(bodies[self.path]).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked.append(body)
        self._head(self.status, "text/event-stream")
        for _ in range(body["max_tokens"]):
            self._event({"choices": [{"text": "word"}]})
        self._event({"choices": [{"text": ""}]})
        if self.counts:
            used = {"prompt_tokens": 9, "completion_tokens": body["max_tokens"]}
            self._event({"choices": [], "usage": used})
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()

    def _event(self, value: object) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")


@pytest.fixture
def url() -> Iterator[str]:
    Engine.asked, Engine.status, Engine.counts = [], 200, True
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_a_group_is_timed(url: str) -> None:
    probe = EngineProbe(f"{url}/v1", seed=5)
    assert (probe.model, probe.slots()) == ("tiny", 3)
    heard = probe.run([Ask(4, 3), Ask(4, 1, after_us=2_000)])
    assert [(one.prompt_tokens, one.output_tokens) for one in heard] == [(9, 3), (9, 1)]
    assert [len(one.moments) for one in heard] == [3, 1]
    assert 0 < heard[0].first_us <= heard[0].whole_us
    assert heard[1].sent_us >= 2_000
    prompts = {str(body["prompt"]) for body in Engine.asked}
    assert len({prompt.split()[0] for prompt in prompts}) == 2


def test_what_cannot_be_measured_is_said(url: str) -> None:
    Engine.counts = False
    with pytest.raises(ProbeFailed, match="no usage"):
        EngineProbe(url).run([Ask(1, 1)])
    Engine.status = 503
    with pytest.raises(ProbeFailed, match="answered 503"):
        EngineProbe(url).run([Ask(1, 1)])
    with pytest.raises(ProbeFailed, match="no engine answers"):
        EngineProbe(f"http://127.0.0.1:{free_port()}")
    for wrong in ("https://x", "http://:1", "http://h:99999"):
        with pytest.raises(ProbeFailed, match="HOST:PORT"):
            EngineProbe(wrong)


@pytest.mark.engine
def test_the_embedded_engine_is_measured_and_fitted(tmp_path: Path) -> None:
    with running_engine(tmp_path, "--slots", "2") as engine:
        probe = EngineProbe(engine.url)
        shape = Shape(probe.slots(), 2048, 64)
        assert shape.slots == 2
        model, held = fit_and_judge(probe, shape, 1, 1)
    # A test may run beside others: the bars are for `selvedge sim calibrate` on a quiet machine.
    assert 20 < model.prefill_tokens_per_s < 5_000
    assert held.ttft_predicted_us > 0
    assert held.step_predicted_us > 0
