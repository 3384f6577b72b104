"""Texts as vectors: the bundled encoder on one core, or any embedding engine by its URL.

Either has the same face: a call with some texts that takes a thread a while and gives unit vectors,
or raises `EmbedderFailed`. `EmbedQueue` keeps one such call going at a time: what arrives meanwhile
goes together into the next, shortest first, so that a batch is as long as its texts are alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from selvedge.adapters.bundled_models import ModelUnavailable, encoder_graph
from selvedge.adapters.embedder_onnx import INPUTS, OUTPUT
from selvedge.adapters.embedder_wordpiece import WordPiece
from selvedge.fabric import SelvedgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BUNDLED_ENCODER: Final = "all-minilm-l6-v2"
BUNDLED_DIMS: Final = 384
BATCH_MAX: Final = 16
QUEUE_MAX: Final = 256
RECENT_MAX: Final = 2048
_ANSWER_BYTES_MAX: Final = 64 * 2**20


class EmbedderFailed(SelvedgeError):
    """No vectors: the engine is down, slow or says something else."""


class Embedder(Protocol):
    """Who makes vectors."""

    @property
    def dims(self) -> int:
        """How many numbers a vector has."""
        ...

    @property
    def mark(self) -> bytes:
        """16 bytes: vectors of another mark are not compared with these."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one a row. Raises `EmbedderFailed`; blocks its thread."""
        ...


class BundledEmbedder:
    """all-MiniLM-L6-v2 by onnxruntime, one thread."""

    def __init__(self, cache_dir: Path, *, threads: int = 1) -> None:
        """Raises `EmbedderFailed` where the cache extra or the weights are not installed."""
        try:
            import onnxruntime  # noqa: PLC0415 (the cache extra, optional)

            graph, vocabulary = encoder_graph(BUNDLED_ENCODER, cache_dir)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._session: Any = onnxruntime.InferenceSession(  # it has no types
                str(graph), options, providers=["CPUExecutionProvider"]
            )
            self._pieces = WordPiece(vocabulary)
        except (ImportError, ModelUnavailable, OSError, ValueError, RuntimeError) as error:
            raise EmbedderFailed(f"the bundled encoder cannot be used: {error}") from error
        self.dims = BUNDLED_DIMS
        self.mark = _mark(graph.name)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one a row."""
        import numpy as np  # noqa: PLC0415

        rows = [self._pieces.read(text) for text in texts]
        length = max(map(len, rows))
        pieces = np.zeros((len(rows), length), np.int64)
        mask = np.zeros((len(rows), length), np.float32)
        for at, row in enumerate(rows):
            pieces[at, : len(row)] = row
            mask[at, : len(row)] = 1.0
        given = dict(zip(INPUTS, (pieces, mask, np.arange(length)), strict=True))
        vectors: NDArray[np.float32] = self._session.run([OUTPUT], given)[0]
        return vectors


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]


_vectors: Final = msgspec.json.Decoder(_Vectors)


class UrlEmbedder:
    """An engine with ``POST /v1/embeddings``; ``url`` is its base, ending in ``/v1``."""

    def __init__(
        self, url: str, model: str, *, dims: int, timeout_ms: int = 500, key: str | None = None
    ) -> None:
        self.dims = dims
        self.mark = _mark(f"{url}\n{model}\n{dims}")
        self._parts = urlsplit(url)
        self._model = model
        self._timeout_s = timeout_ms / 1000
        self._key = key

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, one a row."""
        import numpy as np  # noqa: PLC0415

        body = msgspec.json.encode({"model": self._model, "input": list(texts)})
        try:
            found = _vectors.decode(self._post(body)).data
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise EmbedderFailed(f"the embedding engine failed: {error}") from error
        found.sort(key=lambda one: one.index)
        if len(found) != len(texts) or any(len(one.embedding) != self.dims for one in found):
            raise EmbedderFailed(f"the embedding engine gave no {len(texts)} x {self.dims} numbers")
        vectors = np.array([one.embedding for one in found], np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.all(np.isfinite(lengths)) or not np.all(lengths > 0):
            raise EmbedderFailed("the embedding engine gave a vector without a direction")
        unit: NDArray[np.float32] = vectors / lengths
        return unit

    def _post(self, body: bytes) -> bytes:
        """One exchange, over by the deadline whatever the engine does."""
        parts, until = self._parts, time.monotonic() + self._timeout_s
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self._timeout_s)
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            connection.request("POST", f"{parts.path.rstrip('/')}/embeddings", body, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise EmbedderFailed(f"the embedding engine answered {answer.status}")
            data = b""
            while chunk := answer.read1(65_536):
                data += chunk
                if time.monotonic() > until or len(data) > _ANSWER_BYTES_MAX:
                    raise EmbedderFailed("the embedding engine is too slow, or says too much")
            return data
        finally:
            connection.close()


Tell = Callable[["NDArray[np.float32] | None"], None]
Wanted = tuple[bytes, str]
"""Whose, and the text."""


class EmbedQueue:
    """Embeds for a loop, in one thread of ``threads``. What was embedded lately is remembered."""

    def __init__(self, embedder: Embedder, threads: Executor) -> None:
        self.failures = 0
        """Texts that got no vector."""
        self.refused = 0
        """Texts that found the queue full."""
        self.batches = 0
        self.texts = 0
        self._embedder = embedder
        self._threads = threads
        self._waiting: dict[Wanted, None] = {}
        self._tells: dict[Wanted, list[Tell]] = {}
        """Whom to tell of a text that waits or is being embedded."""
        self._recent: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._busy = False

    @property
    def waiting(self) -> int:
        """Texts that no batch has yet."""
        return len(self._waiting)

    def ask(self, text: str, tell: Tell, owner: bytes = b"") -> None:
        """``tell`` gets the vector, at once where it is remembered; None where there is none.

        What is remembered is its ``owner``'s: how soon a vector comes would tell one tenant what
        another has asked.
        """
        wanted = owner, text
        known = self._recent.get(_key(wanted))
        if known is not None:
            tell(known)
        elif wanted in self._tells:
            self._tells[wanted].append(tell)
        elif len(self._waiting) >= QUEUE_MAX:
            self.refused += 1
            tell(None)
        else:
            self._waiting[wanted] = None
            self._tells[wanted] = [tell]
            self._next()

    async def vector(self, text: str, owner: bytes = b"") -> NDArray[np.float32] | None:
        """The same, to be awaited."""
        done: asyncio.Future[NDArray[np.float32] | None] = asyncio.Future()
        self.ask(text, lambda got: None if done.done() else done.set_result(got), owner)
        return await done

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        batch = sorted(list(self._waiting)[:QUEUE_MAX], key=lambda one: len(one[1]))[:BATCH_MAX]
        # The oldest goes in any case: short ones may not keep a long one waiting.
        oldest = next(iter(self._waiting))
        if oldest not in batch:
            batch[-1] = oldest
        for wanted in batch:
            del self._waiting[wanted]
        self._busy = True
        loop = asyncio.get_running_loop()
        texts = [text for _, text in batch]
        work = loop.run_in_executor(self._threads, self._embedder.embed, texts)
        work.add_done_callback(lambda done: self._done(done, batch))

    def _done(self, done: asyncio.Future[NDArray[np.float32]], batch: list[Wanted]) -> None:
        self._busy = False
        self.batches += 1
        self.texts += len(batch)
        if done.cancelled():
            return
        failed = done.exception() is not None
        if failed:
            self.failures += len(batch)
        vectors = [None] * len(batch) if failed else list(done.result())
        for wanted, vector in zip(batch, vectors, strict=True):
            if vector is not None:
                self._recent[_key(wanted)] = vector
                if len(self._recent) > RECENT_MAX:
                    self._recent.popitem(last=False)
            for tell in self._tells.pop(wanted):
                tell(vector)
        self._next()


def _key(wanted: Wanted) -> bytes:
    owner, text = wanted
    return hashlib.blake2b(text.encode(), digest_size=16, key=owner).digest()


def _mark(words: str) -> bytes:
    return hashlib.blake2b(words.encode(), digest_size=16, person=b"selvedge embed").digest()
