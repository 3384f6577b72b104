"""The control plane's end of leases: a sealed question in, a sealed answer out.

Does no I/O but for the store of grants; whoever serves `lease_messages.TARGET` hands bodies to
`answer_all`, one group at a time. Refuses to know tenants, HTTP and SQL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from selvedge.adapters import pop_public_key, service_key
from selvedge.exchange import lease_messages
from selvedge.fabric import BadRelease, BadTicket, Key, Release
from selvedge.ledger import LEASE_MS, Answer, Desk, GrantStore, Question, budgets_of

TIDY_US: Final = 60_000_000


def _now_us() -> int:
    return time.time_ns() // 1000


class LeaseDesk:
    """Grants leases of one fleet's limits. ``private`` is the control plane's X25519 key."""

    def __init__(
        self,
        private: bytes,
        release: Release,
        store: GrantStore,
        *,
        clock: Callable[[], int] = _now_us,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._private = private
        self._clock = clock
        self._desk = Desk(store, clock(), lease_ms=lease_ms)
        self._public: dict[str, str] = {}
        self._keys: dict[str, bytes] = {}
        self._fleet = ""
        self._tidied_us = 0
        self.serve(release)

    def serve(self, release: Release, keys: Iterable[Key] = ()) -> None:
        """Grant by this release from now on; ``keys`` are otherwise, or new, since it was made.

        Raises `BadRelease` where the release names another control plane; nothing changes then.
        """
        control = release.control
        if control is None or control.public_key != pop_public_key(self._private):
            raise BadRelease("control.public_key", "is not of the key on this control plane's disk")
        public = {pop.id: pop.public_key for pop in release.pops}
        if (public, release.fleet) != (self._public, self._fleet):
            self._public, self._fleet = public, release.fleet
            self._keys = {}
        self._desk.serve(budgets_of(release, keys))

    def answer(self, body: bytes) -> bytes:
        """The answer to one question; see `answer_all`. Raises `BadTicket`, `StoreFailed`."""
        made = self.answer_all([body])[0]
        if isinstance(made, BadTicket):
            raise made
        return made

    def answer_all(self, bodies: Sequence[bytes]) -> list[bytes | BadTicket]:
        """The answers to questions that came together: written down together, at once.

        `BadTicket` where one does not hold or an answer to a later one was given. Raises
        `StoreFailed` where nothing can be granted because it cannot be written down.
        """
        answers: list[bytes | BadTicket] = []
        asked: list[tuple[int, Question]] = []
        for at, body in enumerate(bodies):
            try:
                asked.append((at, lease_messages.read_question(body, self._key)))
                answers.append(b"")
            except BadTicket as error:
                answers.append(error)
        now_us = self._clock()
        granted = self._desk.answer_all([question for _, question in asked], now_us)
        for (at, question), grants in zip(asked, granted, strict=True):
            if grants is None:
                answers[at] = BadTicket("the question is older than one that was answered")
                continue
            answer = Answer(question.nonce, question.number, grants)
            answers[at] = lease_messages.tell(answer, self._key(question.pop) or b"")
        if not 0 <= now_us - self._tidied_us < TIDY_US:
            self._tidied_us = now_us
            self._desk.tidy(now_us)
        return answers

    def granted(self, level: str, kind: int) -> int:
        """What all holders may use of a budget now, in the worst case."""
        return self._desk.granted(level, kind, self._clock())

    def _key(self, pop: str) -> bytes | None:
        key = self._keys.get(pop)
        public = self._public.get(pop)
        if key is None and public is not None:
            name = lease_messages.CONTROL
            key = self._keys[pop] = service_key(self._fleet, self._private, name, pop, public)
        return key
