"""Messages of a pair outside of any request: in which order one is read, told once.

Who it says it is from finds the key; the key's MAC must hold before anything else is read; then the
version, so that a newer sender is told what is wrong; then the message. `BadTicket` says what does
not hold, and nothing is changed by it. What a message answers is for its reader to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from selvedge.fabric import BadTicket
from selvedge.wire import is_sealed, payload_of, seal

T = TypeVar("T", bound=msgspec.Struct)
U = TypeVar("U", bound=msgspec.Struct)

_encode: Final = msgspec.msgpack.Encoder().encode


class Sender(msgspec.Struct, frozen=True):
    """Whose key must verify a message, and by which version it is to be read."""

    pop: str
    v: int


class PairMessage(Generic[T]):
    """One kind of message. ``domain`` says which, and which way; ``name`` is for errors."""

    def __init__(
        self,
        domain: bytes,
        form: type[T],
        name: str,
        bytes_max: int,
        *,
        sender: type[Sender] = Sender,
        version: int = 1,
    ) -> None:
        self._domain = domain
        self._name = name
        self._bytes_max = bytes_max
        self._version = version
        self._messages = msgspec.msgpack.Decoder(form)
        self._senders = msgspec.msgpack.Decoder(sender)

    def write(self, message: T, key: bytes) -> bytes:
        """As it travels; ``key`` is of the pair."""
        return seal(self._domain, _encode(message), key)

    def read(self, written: bytes, key: bytes | None) -> T:
        """A message of the one whose key it is; None: of nobody. Raises `BadTicket`."""
        self._check_size(written)
        if key is None or not is_sealed(self._domain, written, key):
            raise BadTicket(f"the {self._name}'s MAC does not hold")
        return self._decoded(self._messages, written)

    def read_of(self, written: bytes, key_of: Callable[[str], bytes | None]) -> T:
        """A message of whom it names; ``key_of`` knows the PoPs of the release.

        Raises `BadTicket`.
        """
        self._check_size(written)
        sender = self._decoded(self._senders, written)
        key = key_of(sender.pop)
        if key is None:
            raise BadTicket(f"the {self._name} is of no PoP in this release")
        if not is_sealed(self._domain, written, key):
            raise BadTicket(f"the {self._name}'s MAC does not hold")
        if sender.v != self._version:
            words = f"has version {sender.v}, this side reads {self._version}"
            raise BadTicket(f"the {self._name} {words}")
        return self._decoded(self._messages, written)

    def _check_size(self, written: bytes) -> None:
        if len(written) > self._bytes_max:
            raise BadTicket(f"the {self._name} exceeds {self._bytes_max} bytes")

    def _decoded(self, decoder: msgspec.msgpack.Decoder[U], written: bytes) -> U:
        try:
            return decoder.decode(payload_of(written))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadTicket(f"the {self._name} is not readable") from error
