"""What a policy promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from selvedge.fabric import Ask
from selvedge.routing.attempts import Attempt, Candidate
from selvedge.routing.load import Load
from selvedge.routing.signals import Signals


class Policy(Protocol):
    """Orders the PoPs that may serve a request. One ingress has one; it may remember."""

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """Some of the shortlist, which is not empty and sorted by round trip, best first.

        ``signals`` is None where nobody reports. Empty where none has room.
        """
