"""How loaded this PoP's own engines are: their own word, asked for beside all requests.

A profile says where an engine tells its load, if it does. One that does not answer, or not
readably, is asked less often; what is known of it then is what this PoP sent there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from selvedge.adapters import Outgoing
from selvedge.fabric import Engine
from selvedge.pop.clock import now_us
from selvedge.pop.small_answer import Fault, SmallAnswer
from selvedge.pop.state import PopState, parse_url
from selvedge.wire import PROFILES, read_load

LOAD_BYTES_MAX: Final = 2 * 1024 * 1024
LOAD_TIMEOUT_S: Final = 5.0
SILENT_US: Final = 30_000_000
"""How long an engine that says nothing of its load is left alone."""


class EngineWatch:
    """Asks each engine of this PoP that says how loaded it is."""

    def __init__(self, state: PopState, clock: Callable[[], int] = now_us) -> None:
        self._state = state
        self._clock = clock
        self._period_us = state.settings.report_ms * 1000
        self._due_us: dict[str, int] = {}
        self._asked: dict[str, SmallAnswer] = {}

    def turn(self, at_us: int) -> None:
        """Ask whoever it is time to ask."""
        for engine in self._state.own.engines:
            due_us = self._due_us.get(engine.id, 0)
            late = due_us > at_us + SILENT_US  # the clock was set back
            if engine.id not in self._asked and (due_us <= at_us or late):
                self._due_us[engine.id] = at_us + self._period_us
                self._ask(engine)

    def stop(self) -> None:
        """Wait for no answer any more."""
        for answer in self._asked.values():
            answer.stop()
        self._asked.clear()

    def ended(self, why: str) -> None:
        """A question to an engine has ended so."""
        self._state.metrics.engine_loads.labels(why).inc()

    def _ask(self, engine: Engine) -> None:
        profile = PROFILES[engine.profile]
        if not profile.load_path:
            self._due_us[engine.id] = self._clock() + SILENT_US
            return

        def take(body: bytes | None, fault: Fault | None) -> None:
            del self._asked[engine.id]
            load = read_load(profile, body) if body is not None else None
            if load is None:
                self._due_us[engine.id] = self._clock() + SILENT_US
            else:
                self._state.own.told(engine.id, self._clock(), **msgspec.structs.asdict(load))
            self.ended("taken" if load else fault or "nonsense")

        answer = self._asked[engine.id] = SmallAnswer(LOAD_BYTES_MAX, LOAD_TIMEOUT_S, take)
        answer.begin(self._state.client.send(self._question(engine, profile.load_path), answer))

    def _question(self, engine: Engine, path: str) -> Outgoing:
        target = parse_url(engine.url)
        key = self._state.engine_keys.get(engine.api_key_env or "")
        return Outgoing(
            host=target.origin.host,
            port=target.origin.port,
            method="GET",
            target=target.path + path,
            headers=[("authorization", f"Bearer {key}")] if key else [],
            tls=target.origin.tls,
            plain_outside=engine.plain_http_outside,
        )
