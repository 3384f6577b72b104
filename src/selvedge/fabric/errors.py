"""What can break, as one small tree. Expected refusals are values (`Refused`), not these.

SelvedgeError                 one sentence a person can act on
  BadSetting                  a setting or command-line value
  BadRelease                  a fleet configuration or release, with the field
    StaleRelease              older than, or as old as, the one that serves
  BadScenario                 a scenario or trace of the simulator, with the field
  BadTicket                   a peer's ticket that does not hold
  StoreFailed                 a write did not happen, or may not have happened
  StoreCorrupt                what was read back is not what was written
  BadProof                    a note, checkpoint, tile, proof or bundle that does not hold
"""

from __future__ import annotations


class SelvedgeError(Exception):
    """Root of everything Selvedge raises on purpose; its text is one sentence for a person."""


class BadSetting(SelvedgeError):
    """A setting that is unknown, of the wrong type or out of range."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"setting {name}: {why}")
        self.name = name


class BadRelease(SelvedgeError):
    """A fleet description that cannot be served; ``field`` is the dotted path into it."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


class StaleRelease(BadRelease):
    """A release that is not newer than the one that serves; ``other`` unless it is the same."""

    def __init__(self, field: str, why: str, *, other: bool = True) -> None:
        super().__init__(field, why)
        self.other = other


class BadScenario(SelvedgeError):
    """A scenario or trace that cannot be run; ``field`` is the dotted path into it."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


class BadTicket(SelvedgeError):
    """A ticket with a wrong MAC, a wrong binding, or one that was used before."""


class StoreFailed(SelvedgeError):
    """A write failed. The caller must treat it as not written, and say so."""


class StoreCorrupt(SelvedgeError):
    """Stored bytes fail their own check."""


class BadProof(SelvedgeError):
    """Something of a transparency log that is malformed or does not hold; ``what`` it is."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
