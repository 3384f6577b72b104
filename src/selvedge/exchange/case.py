"""One request on its way through the story, with all that is known of it once it may go on."""

from __future__ import annotations

from selvedge.exchange.commands import BodyRead
from selvedge.exchange.quota import Taken
from selvedge.fabric import Ask, Head
from selvedge.fabric.value import Value
from selvedge.ledger import Admitted
from selvedge.residency import Allowed


class Case(Value, frozen=True):
    """A request of a client that was admitted, allowed and read."""

    head: Head
    ask: Ask
    arrived: BodyRead
    admitted: Admitted
    allowed: Allowed
    taken: Taken | None
    keeps: bool
    """Whether anything of it may be kept here for later."""
