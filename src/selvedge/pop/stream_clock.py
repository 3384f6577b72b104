"""Time over all relays that run, kept by one coarse sweep: pings, silent engines, endless streams.

Nothing here runs per chunk: a relay raises two flags as bytes pass (``heard``, ``wrote``), and the
sweep lowers them. So a limit is kept to within one sweep, and 2,000 streams cost one short walk.
"""

from __future__ import annotations

from collections.abc import KeysView
from typing import Final, Protocol

from selvedge.fabric import Refused
from selvedge.fabric.value import Value

SWEEP_S: Final = 0.5


class StreamLimits(Value, frozen=True):
    """In microseconds; ``ping_us`` 0 is never."""

    ping_us: int
    engine_idle_us: int
    stream_us: int


class Watched(Protocol):
    """One relay. The flags are raised by it and lowered here."""

    heard: bool
    """The engine has sent something."""
    wrote: bool
    """The client has been sent something."""

    @property
    def expects_life(self) -> bool:
        """Whether silence of the engine means anything now."""

    def ping(self) -> None:
        """Show the client that its stream lives."""

    def silent(self, silent_ms: int) -> None:
        """The engine has said nothing for too long."""

    def refuse(self, refused: Refused) -> None:
        """End it so."""


class _Times:
    __slots__ = ("began_us", "heard_us", "wrote_us")

    def __init__(self, now_us: int) -> None:
        self.began_us = self.heard_us = self.wrote_us = now_us


class StreamClock:
    """All relays of one process."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._running: dict[Watched, _Times] = {}
        self._closed: Refused | None = None

    def __len__(self) -> int:
        return len(self._running)

    @property
    def running(self) -> KeysView[Watched]:
        """Every relay that runs."""
        return self._running.keys()

    def watch(self, relay: Watched, now_us: int) -> bool:
        """Keep time for this relay from now on; False, and it is ended, once all are to end."""
        if self._closed is not None:
            relay.refuse(self._closed)
            return False
        self._running[relay] = _Times(now_us)
        return True

    def forget(self, relay: Watched) -> None:
        """It is over."""
        self._running.pop(relay, None)

    def end_all(self, refused: Refused) -> None:
        """End every relay, and each that would begin."""
        self._closed = refused
        for relay in list(self._running):
            relay.refuse(refused)

    def sweep(self, now_us: int) -> None:
        """To be called about twice a second."""
        limits = self._limits
        for relay, times in list(self._running.items()):
            if relay.heard:
                relay.heard, times.heard_us = False, now_us
            elif not relay.expects_life:
                times.heard_us = now_us
            if relay.wrote:
                relay.wrote, times.wrote_us = False, now_us
            if now_us - times.began_us > limits.stream_us:
                words = f"The stream lasted longer than stream_ms_max, {limits.stream_us // 1000}."
                relay.refuse(Refused("deadline_exceeded", words))
            elif now_us - times.heard_us > limits.engine_idle_us:
                relay.silent(limits.engine_idle_us // 1000)
            elif limits.ping_us and now_us - times.wrote_us >= limits.ping_us:
                times.wrote_us = now_us
                relay.ping()
