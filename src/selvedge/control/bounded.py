"""Connections to PostgreSQL on which nobody waits for ever.

The server bounds each statement by itself. One that stands still, or whose host is gone with our
question acknowledged, says nothing and breaks no connection: then this end gives up and closes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen

SLACK_S: Final = 0.5
"""So much later than the server, which tells the reason, does this end give up."""

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):  # Any: rows of whatever is asked
    """The server may be silent for ``silent_s`` at a time, and no longer."""

    silent_s: float = 2.0 + SLACK_S

    def wait(self, gen: PQGen[T], *words: Any, **named: Any) -> T:  # Any: psycopg's own
        """As psycopg's; raises `psycopg.OperationalError` when the server was silent too long."""
        return super().wait(self._bounded(gen), *words, **named)

    def _bounded(self, gen: PQGen[T]) -> PQGen[T]:
        """The same steps. Psycopg says some times a second when nothing has come."""
        late = time.monotonic() + self.silent_s
        try:
            step = next(gen)
            while True:
                ready = yield step
                now = time.monotonic()
                if ready:
                    late = now + self.silent_s
                elif now > late:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"it was silent for {self.silent_s:g} s")
                step = gen.send(ready)
        except StopIteration as done:
            value: T = done.value
            return value


def connects(wait_ms: int) -> Callable[..., BoundedConnection]:
    """A listener of SQLAlchemy's ``do_connect``: how to connect."""
    silent_s = wait_ms / 1000 + SLACK_S

    def connect(_: object, __: object, words: list[Any], named: dict[str, Any]) -> Any:
        # Any: what SQLAlchemy hands to the driver, and takes from it
        made = BoundedConnection.connect(*words, **named)
        made.silent_s = silent_s
        return made

    return connect
