"""Every path of a PoP: heads in, stories or small pages out.

A request for work becomes a `Head` and a story; nothing of its body has been read by then. Health,
models and metrics are answered here and never wait for an engine.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Final
from urllib.parse import unquote

import msgspec

from selvedge.adapters import Entropy
from selvedge.exchange import FleetView, reach, reports, serve, serve_peer
from selvedge.fabric import DIALECT_PATHS, BadTicket, Engine, Head, Model, Refused, Route
from selvedge.pop.cache_headers import read_wish
from selvedge.pop.cache_pages import METHODS, answer_page
from selvedge.pop.clock import now_us
from selvedge.pop.downstream import JSON_TYPE, retry_headers
from selvedge.pop.hearing import REPORT_TARGET, told
from selvedge.pop.http_server import BodyFault, ClientGone, Inbound
from selvedge.pop.interpreter import TICKET_HEADER, Interpreter
from selvedge.pop.kept_responses import PATH as RESPONSES_PATH
from selvedge.pop.kept_responses import allowed_methods
from selvedge.pop.model_rows import model_row, models_page
from selvedge.pop.openapi import render_openapi
from selvedge.pop.sent_key import API_KEY, AZURE_KEY, sent_key, two_keys
from selvedge.pop.state import PopState
from selvedge.routing import ModelReport, place
from selvedge.wire import (
    client_address,
    read_idempotency_key,
    read_unverified,
    read_wait_ms,
    render_refusal,
)

DEADLINE_HEADER: Final = "selvedge-deadline-ms"
DEADLINE_FIELD: Final = DEADLINE_HEADER.encode()
TICKET_FIELD: Final = TICKET_HEADER.encode()
IDEMPOTENCY_FIELD: Final = b"idempotency-key"
CLIENT_ID_CHARS_MAX: Final = 512
MESSAGES_PATH: Final = "/v1/messages"
_PATHS: Final = "chat/completions, completions, embeddings, rerank, messages, responses and models"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PEERS_ELSEWHERE: Final = Refused(
    "ticket_refused", "Tickets are taken from peers alone, by mutual TLS on 'peer_listen'."
)
MSGPACK_TYPE: Final = ("content-type", "application/vnd.msgpack")
_encode: Final = msgspec.json.Encoder().encode


def new_id(prefix: str, at_us: int, entropy: Entropy) -> str:
    """An id that sorts by time: milliseconds in 12 hex digits, then 80 random bits."""
    return f"{prefix}_{at_us // 1000:012x}{entropy.take(10).hex()}"


class App:
    """The handler of one PoP process."""

    def __init__(self, state: PopState, *, takes_tickets: bool | None = None) -> None:
        self._state = state
        plain = state.peering.is_plain
        self._takes_tickets = plain if takes_tickets is None else takes_tickets
        self._started = time.monotonic()
        self._document = b""
        self._work = {route.value: route for route in Route}
        self._work |= {path: route for path, (route, _) in DIALECT_PATHS.items()}
        self._pages: dict[str, Callable[[Inbound], None]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/health": self._health,
            "/health/liveliness": self._healthz,
            "/health/liveness": self._healthz,
            "/health/readiness": self._readyz,
            "/metrics": self._metrics,
            "/openapi.json": self._openapi,
            "/v1/models": self._models,
        }

    def handle(self, inbound: Inbound) -> Awaitable[None] | None:
        """Answer one request; what is returned has to be waited for."""
        path = inbound.head.target.partition("?")[0]
        route = self._work.get(path)
        if route is not None:
            self._work_or_refuse(inbound, route)
            return None
        if path in METHODS and inbound.head.method == METHODS[path]:
            return answer_page(self._state, inbound, path, self._cache_sent(inbound))
        if path == REPORT_TARGET and self._takes_tickets:
            self._report(inbound)
            return None
        if path.startswith(RESPONSES_PATH):
            self._response(inbound, path)
        elif path in self._pages or path.startswith("/v1/models/"):
            self._page(inbound, path)
        elif path in METHODS:
            self._wrong_method(inbound, METHODS[path])
        else:
            words = (
                f"There is no {path[:100]!r}; base_url ends in '/v1', and under it are {_PATHS}."
            )
            self._refuse(inbound, Refused("unknown_url", words))
        inbound.settle()
        return None

    def _report(self, inbound: Inbound) -> None:
        """Another PoP asks how loaded this one is, and what it holds."""

        def take(came: bytes | BodyFault) -> None:
            try:
                if not isinstance(came, ClientGone):
                    self._tell(inbound, came if isinstance(came, bytes) else b"")
            except Exception as error:  # noqa: BLE001 (counted, logged, and answered with a 500)
                inbound.fault(error)
            else:
                inbound.settle()

        inbound.want_body(reports.QUESTION_BYTES_MAX, take)

    def _tell(self, inbound: Inbound, question: bytes) -> None:
        answer = told(self._state, question, inbound.certificate)
        if isinstance(answer, Refused):
            self._state.metrics.reports_told.labels("refused").inc()
            self._state.tally(answer.code)
            self._refuse(inbound, answer)
        else:
            self._state.metrics.reports_told.labels("told").inc()
            inbound.respond(200, [MSGPACK_TYPE], answer)

    def _work_or_refuse(self, inbound: Inbound, route: Route) -> None:
        if inbound.head.method != "POST":
            self._wrong_method(inbound, "POST")
            inbound.settle()
            return
        view = self._state.view
        if view is None:
            words = "This PoP has no valid release yet; retry."
            self._refuse(inbound, Refused("not_ready", words, retry_after_ms=1000))
            inbound.settle()
            return
        if self._state.gate.passes(inbound, view, route, self._run):
            self._run(inbound, route, view)

    def _run(self, inbound: Inbound, route: Route, view: FleetView) -> None:
        self._state.load.warm(inbound.received_us)
        body_max, image_urls = self._state.settings.body_bytes_max, self._state.settings.image_urls
        ticket = inbound.head.headers.raw(TICKET_FIELD)
        if ticket is None:
            head = self._head(inbound, route)
            story = serve(head, view, body_max, image_urls=image_urls)
        elif not self._takes_tickets:
            self._state.tally(_PEERS_ELSEWHERE.code)
            self._refuse(inbound, _PEERS_ELSEWHERE)
            inbound.settle()
            return
        else:
            written = ticket.decode("latin-1")
            head = self._peer_head(inbound, route, written)
            book = self._state.tickets
            story = serve_peer(head, written, view, book, body_max, image_urls=image_urls)
        self._state.metrics.running.inc()
        self._state.gate.entered()
        Interpreter(self._state, view, inbound, head, for_peer=ticket is not None).run(story)

    def _head(self, inbound: Inbound, route: Route) -> Head:
        raw = inbound.head.headers.raw
        at_us = inbound.received_us
        settings = self._state.settings
        deadline_ms, fault = settings.deadline_ms_default, _head_fault(inbound)
        written = raw(DEADLINE_FIELD)
        if written is not None:
            if written.isdigit() and len(written) < 16:
                deadline_ms = min(int(written), settings.deadline_ms_max)
            else:
                words = f"Header {DEADLINE_HEADER} is a whole number of milliseconds."
                fault = Refused("invalid_header", words, param=DEADLINE_HEADER)
        authorization = raw(b"authorization")
        if raw(API_KEY) is not None or raw(AZURE_KEY) is not None:
            fault, authorization = two_keys(inbound.head) or fault, sent_key(inbound.head)
        repeated = raw(IDEMPOTENCY_FIELD)
        key = None if repeated is None else read_idempotency_key(repeated.decode("latin-1"))
        if isinstance(key, Refused):
            fault, key = key, None
        client_id = inbound.head.headers.get("x-client-request-id")
        prefer = raw(b"prefer")
        target = inbound.head.target
        asked = None if target == route else DIALECT_PATHS.get(target.partition("?")[0])
        return Head(
            request_id=new_id("req", at_us, self._state.entropy),
            receipt_id=new_id("rcpt", at_us, self._state.entropy),
            route=route,
            authorization=authorization.decode("latin-1") if authorization else None,
            content_length=inbound.head.content_length,
            received_us=at_us,
            deadline_us=at_us + deadline_ms * 1000,
            client_ip=self._client_ip(inbound),
            client_request_id=client_id[:CLIENT_ID_CHARS_MAX] if client_id else None,
            fault=fault,
            wait_ms_max=None if prefer is None else read_wait_ms(prefer.decode("latin-1")),
            idempotency_key=key,
            cache=read_wish(raw),
            dialect=None if asked is None else asked[1],
        )

    def _client_ip(self, inbound: Inbound) -> str:
        proxies = self._state.proxies
        if not proxies.any:
            return str(inbound.peer[0])
        written = inbound.head.headers.get(proxies.header)
        return client_address(str(inbound.peer[0]), written, proxies)

    def _peer_head(self, inbound: Inbound, route: Route, written: str) -> Head:
        """Id and deadline are the ticket's word; the story checks the ticket before all else."""
        at_us = inbound.received_us
        request_id, deadline_ms = new_id("req", at_us, self._state.entropy), 1
        try:
            ticket, _, _ = read_unverified(written)
            deadline_ms = ticket.deadline_ms
            # Unverified as yet, and soon in a header: only what can be one of our ids.
            if _REQUEST_ID.fullmatch(ticket.request_id):
                request_id = ticket.request_id
        except BadTicket:
            pass  # The story refuses it, with the reason.
        deadline_ms = max(0, min(deadline_ms, self._state.settings.deadline_ms_max))
        return Head(
            request_id=request_id,
            receipt_id="",
            route=route,
            authorization=None,
            content_length=inbound.head.content_length,
            received_us=at_us,
            deadline_us=at_us + deadline_ms * 1000,
            peer=self._state.peering.name_of(inbound.certificate),
        )

    # Pages.

    def _cache_sent(self, inbound: Inbound) -> Callable[[bytes | Refused], None]:
        def send(answer: bytes | Refused) -> None:
            if isinstance(answer, Refused):
                self._refuse(inbound, answer)
            else:
                inbound.respond(200, [JSON_TYPE, *self._named(inbound)], answer)

        return send

    def _page(self, inbound: Inbound, path: str) -> None:
        if inbound.head.method not in ("GET", "HEAD"):
            self._wrong_method(inbound, "GET, HEAD")
        elif path in self._pages:
            self._pages[path](inbound)
        else:
            # Clients escape what a name may hold: "org/model" comes as "org%2Fmodel".
            self._model(inbound, unquote(path.removeprefix("/v1/models/")))

    def _healthz(self, inbound: Inbound) -> None:
        _json(inbound, 200, {"status": "ok"})

    def _readyz(self, inbound: Inbound) -> None:
        trouble = self._state.book.broken
        if self._state.view is None:
            trouble = "no release"
        if self._state.draining:
            trouble = "stopping"
        _json(inbound, 503 if trouble else 200, {"status": trouble or "ready"})

    def _health(self, inbound: Inbound) -> None:
        view = self._state.view
        facts: dict[str, object] = {
            "status": "ok" if view is not None else "no release",
            "pop": self._state.settings.pop,
            "uptime_s": int(time.monotonic() - self._started),
            "wan_emulated": self._state.settings.wan_emulated,
            "workers": self._state.shared.workers(),
            "open_intents": self._state.metrics.open_intents.total(),
        }
        if view is not None:
            facts["country"] = view.here.country
            facts["release"] = {"version": view.release.version, "hash": view.release_hash}
            facts["engines"] = {
                engine.id: {
                    "models": [one.model for one in engine.serves],
                    "in_flight": self._state.load.requests(place(view.here.id, engine.id)),
                    **_known_of(self._state, engine),
                }
                for engine in view.here.engines
            }
            facts["routing_policy"] = self._state.settings.routing_policy
            facts["hears"] = _heard(self._state, now_us())
        _json(inbound, 200, facts)

    def _metrics(self, inbound: Inbound) -> None:
        kind = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
        inbound.respond(200, [kind], self._state.metrics.render())

    def _openapi(self, inbound: Inbound) -> None:
        self._document = self._document or render_openapi(version("selvedge"))
        inbound.respond(200, [JSON_TYPE], self._document)

    def _models(self, inbound: Inbound) -> None:
        offered = self._offered(inbound)
        if offered is not None:
            view, models = offered
            page = models_page(models, view.release.made_us, inbound.head)
            _json(inbound, 200, page, self._named(inbound))

    def _model(self, inbound: Inbound, name: str) -> None:
        offered = self._offered(inbound)
        if offered is None:
            return
        view, models = offered
        found = next((model for model in models if model.id == name), None)
        if found is None:
            words = f"Model {name[:128]!r} is not offered; GET /v1/models lists what is."
            self._refuse(inbound, Refused("model_not_found", words, param="model"))
        else:
            row = model_row(found, view.release.made_us, inbound.head)
            _json(inbound, 200, row, self._named(inbound))

    def _response(self, inbound: Inbound, path: str) -> None:
        """An answer that is kept here for its client."""
        method, view = inbound.head.method, self._state.view
        if method not in allowed_methods(path):
            self._wrong_method(inbound, ", ".join(allowed_methods(path)))
            return
        if view is None:
            words = "This PoP has no valid release yet; retry."
            self._refuse(inbound, Refused("not_ready", words, retry_after_ms=1000))
            return
        sent = sent_key(inbound.head)
        authorization = sent.decode("latin-1") if sent else None
        page = self._state.responses.page(view, authorization, method, unquote(path))
        if isinstance(page, Refused):
            if page.kind.status == 401:
                self._state.tally(page.code)
            self._refuse(inbound, page)
        else:
            inbound.respond(200, [JSON_TYPE, *self._named(inbound)], page)

    def _offered(self, inbound: Inbound) -> tuple[FleetView, list[Model]] | None:
        """The models that a key's rule can reach from here; None where it was refused."""
        view = self._state.view
        if view is None:
            words = "This PoP has no valid release yet; retry."
            self._refuse(inbound, Refused("not_ready", words, retry_after_ms=1000))
            return None
        sent = sent_key(inbound.head)
        admitted = view.keyring.admit(sent.decode("latin-1") if sent else None, now_us())
        if isinstance(admitted, Refused):
            self._state.tally(admitted.code)
            self._refuse(inbound, admitted)
            return None
        here, zones = view.here.id, admitted.zones
        allowed = view.rules.allowed(admitted.tenant, admitted.data_class, here, now_us(), zones)
        if isinstance(allowed, Refused):
            self._refuse(inbound, allowed)
            return None
        reachable = {
            served.model
            for pop in view.rules.members(reach(view, allowed, admitted))
            for engine in pop.engines
            for served in engine.serves
        }
        if admitted.models:
            reachable &= set(admitted.models)
        return view, [model for model in view.release.models if model.id in reachable]

    def _wrong_method(self, inbound: Inbound, allow: str) -> None:
        method = inbound.head.method[:16]
        refused = Refused("method_not_allowed", f"{method} is not possible here; use {allow}.")
        self._refuse(inbound, refused, [("allow", allow)])

    def _named(self, inbound: Inbound) -> list[tuple[str, str]]:
        request_id = new_id("req", inbound.received_us, self._state.entropy)
        return [("x-request-id", request_id), ("selvedge-pop", self._state.settings.pop)]

    def _refuse(
        self, inbound: Inbound, refused: Refused, extra: list[tuple[str, str]] | None = None
    ) -> None:
        named = self._named(inbound)
        headers = [JSON_TYPE, *named, *retry_headers(refused), *(extra or [])]
        if inbound.head.target.startswith(MESSAGES_PATH):
            headers.append(("request-id", named[0][1]))
        body = render_refusal(inbound.head.target, refused, named[0][1])
        inbound.respond(refused.kind.status, headers, body)


def _head_fault(inbound: Inbound) -> Refused | None:
    kind = inbound.head.headers.raw(b"content-type")
    if kind is not None and kind != b"application/json" and b"json" not in kind.lower():
        words = f"The body is {kind.decode('latin-1')[:64]!r}; send 'application/json'."
        return Refused("unsupported_media_type", words, param="content-type")
    coding = inbound.head.headers.get("content-encoding")
    if coding is not None and coding.lower() != "identity":
        words = f"The body is {coding[:64]!r}; send it uncompressed, without Content-Encoding."
        return Refused("unsupported_media_type", words, param="content-encoding")
    if inbound.head.content_length is None and not inbound.head.chunked:
        return Refused("length_required", "A POST says its length; send Content-Length.")
    return None


def _known_of(state: PopState, engine: Engine) -> dict[str, object]:
    """What routing knows of an engine of this PoP."""
    known = state.own.state(engine.id, engine.serves[0].model, ())
    if known is None:
        return {}
    return {**_load_facts(known.load), "blocks_held": state.own.held_blocks(engine.id)}


def _heard(state: PopState, at_us: int) -> dict[str, object]:
    """What other PoPs report, by PoP; empty where nobody does."""
    heard = state.signals.reports if state.signals is not None else {}
    return {
        pop: {
            "age_ms": (at_us - report.at_us) // 1000,
            "reserve": report.reserve,
            "models": {name: _load_facts(load) for name, load in sorted(report.models.items())},
        }
        for pop, report in sorted(heard.items())
        if pop != state.settings.pop
    }


def _load_facts(load: ModelReport) -> dict[str, object]:
    return {
        "waiting_tokens": load.waiting_tokens,
        "running": load.running,
        "slots": load.slots,
        "kv_free": round(load.kv_free, 3),
        "prefill_tokens_per_s": load.prefill_tokens_per_s,
    }


def _json(
    inbound: Inbound, status: int, body: object, extra: Sequence[tuple[str, str]] = ()
) -> None:
    inbound.respond(status, [JSON_TYPE, *extra], _encode(body))
