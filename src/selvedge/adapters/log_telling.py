"""A log tells its checkpoints to who remembers them: a witness, or a jurisdiction's log.

Both are asked as a C2SP witness is (``add-checkpoint``): the size that they know, the proof from
there, the checkpoint. What they know is learnt from their refusals. One that knows more than the
log itself has, or another tree of the same size, says that the log was set back to an older copy or
has two histories: `SetBack`, and that log must sign nothing more.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from selvedge.adapters.http_answer import TransportFailed
from selvedge.adapters.http_client import HttpClient
from selvedge.adapters.http_target import Outgoing
from selvedge.fabric import SelvedgeError
from selvedge.tlog import NOTE_BYTES_MAX, Submission, read_size

TIMEOUT_S: Final = 10.0
TRIES: Final = 3

Prove = Callable[[int], Sequence[bytes]]
"""A size that is known there -> the proof that the checkpoint goes on from it."""


class NotTold(SelvedgeError):
    """No answer, or none that takes the checkpoint; it is to be told again later.

    ``status`` is the answer's; 0 where there was none.
    """

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


class SetBack(SelvedgeError):
    """They know a history that is not, or no longer, this log's."""


class Told(msgspec.Struct, frozen=True):
    """A checkpoint as it is told: its origin, its size, the signed note."""

    origin: str
    size: int
    note: bytes


class Listener:
    """One who remembers checkpoints of a log, shard by shard."""

    def __init__(self, client: HttpClient, url: str, target: str) -> None:
        self.url = url
        self._client = client
        self._target = target
        self._tls = ssl.create_default_context() if url.startswith("https://") else None
        self._sizes: dict[str, int] = {}

    def knows(self, origin: str) -> int | None:
        """The size that it has confirmed since this process began; None before that."""
        return self._sizes.get(origin)

    async def tell(self, told: Told, prove: Prove) -> bytes:
        """Tell a checkpoint; the answer's body. Raises `NotTold` and `SetBack`."""
        old_size = self._sizes.get(told.origin, told.size)
        for _ in range(TRIES):
            proof: Sequence[bytes] = ()
            if 0 < old_size < told.size:
                proof = await asyncio.to_thread(prove, old_size)
            body = Submission(old_size, tuple(proof), told.note).encode()
            status, answer = await self._post(body)
            if status == 200:
                self._sizes[told.origin] = told.size
                return answer
            old_size = self._known(told, old_size, status, answer)
        raise NotTold(f"{self.url} changes its mind about {told.origin}")

    def _known(self, told: Told, old_size: int, status: int, answer: bytes) -> int:
        """The size that a refusal tells."""
        said = answer[:200].decode(errors="replace").strip()
        if status == 422:
            words = f"{self.url} knows another history of {told.origin} at {old_size}"
            raise SetBack(f"{words}: this log was set back and has gone on, or its key is used")
        size = read_size(said) if status == 409 else None
        if size is None:
            raise NotTold(f"{self.url} answers {status}: {said}", status)
        if size > told.size:
            words = f"{self.url} knows {told.origin} at {size}, and here it ends at {told.size}"
            raise SetBack(f"{words}: this log was set back to an older copy")
        if size == told.size == old_size:
            words = f"{self.url} knows another tree of {told.origin} at {size}"
            raise SetBack(f"{words}: this log was set back and has gone on")
        return size

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        url = urlsplit(self.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        target = f"{url.path.rstrip('/')}/{self._target}"
        asked = Outgoing(
            url.hostname or "", port, "POST", target, (), body, self._tls, plain_outside=False
        )
        try:
            answer = await self._client.fetch(asked, bytes_max=NOTE_BYTES_MAX, timeout_s=TIMEOUT_S)
        except TransportFailed as error:
            raise NotTold(f"{self.url}: {error}") from error
        except TimeoutError as error:
            raise NotTold(f"{self.url}: no answer in {TIMEOUT_S:g} s") from error
        return answer.status, answer.body
