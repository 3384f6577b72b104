"""An attempt at a provider: an engine that this PoP asks itself, at the other end of a link.

There is no ticket and no word of a peer. Bytes take their time both ways; a token that is on the
way when the client leaves has not been delivered.
"""

from __future__ import annotations

from collections.abc import Callable

from selvedge.exchange import Job
from selvedge.fabric import Refused
from selvedge.routing import Attempt
from selvedge.sim.conversation import Conversation
from selvedge.sim.relay import LocalRelay, World


class ProviderRelay(LocalRelay):
    """The PoP's end of it; the engine's listener."""

    def __init__(
        self, world: World, conversation: Conversation, attempt: Attempt, job: Job
    ) -> None:
        super().__init__(world, conversation, attempt, job)
        here = conversation.pop.id
        self._there_us, self._back_us = world.links.ways_us(here, attempt.pop)

    def open(self) -> Refused | None:
        """Send the request."""
        if self.world.links.are_cut(self.conversation.pop.id, self.attempt.pop):
            words = f"Provider {self.attempt.pop!r} cannot be reached."
            return Refused("engine_failed", words, retry_after_ms=1000)
        self.world.clock.after(self._there_us, self._arrive)
        return None

    def token(self, count: int) -> None:
        """A token leaves the engine."""
        self._later(lambda: super(ProviderRelay, self).token(count))

    def done(self) -> None:
        """The end of the answer leaves the engine."""
        self._later(super().done)

    def broken(self) -> None:
        """The engine went down."""
        self._later(super().broken)

    def cut(self) -> None:
        """Close the connection; the engine learns of it one way later."""
        if self._answering is not None:
            self.world.clock.after(self._there_us, self._answering.cancel)

    def generated(self) -> int:
        """What had left the engine one way ago."""
        if self._answering is None:
            return 0
        return self._answering.tokens_at(self.world.clock.now_us - self._back_us)

    def _arrive(self) -> None:
        if self.over:
            return
        refused = super().open()
        if refused is not None:
            failed = refused
            self._later(lambda: self.end(self.failed(failed)))

    def _later(self, act: Callable[[], None]) -> None:
        """What leaves there now comes here one way later, unless it is over by then."""
        self.world.clock.after(self._back_us, lambda: None if self.over else act())
