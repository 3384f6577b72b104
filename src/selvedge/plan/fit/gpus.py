"""GPUs as numbers: memory as an engine sees it, bandwidth, rates, watts, and a dated price."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.plan.fit.names import nearest, shortened
from selvedge.plan.history import BadPlan

_LARGE_GIB: Final = 70.0


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One card, or one socket of a board."""

    memory_gib: float
    """As CUDA or HIP reports it: less than the name says."""
    bandwidth_gb_s: float
    tflops_16: float
    """Dense, 16-bit floats."""
    watts: int
    """The most that it draws by itself."""
    price_usd: int
    """Typical, for one, without a server."""
    price_as_of: str
    price_source: str
    tflops_8: float | None = None
    """Dense, 8-bit floats; None: it has no arithmetic for them, and reads them as storage."""
    small_batches: bool = False
    """vLLM starts with small batches on it in spite of its memory."""
    aliases: tuple[str, ...] = ()

    @property
    def batch_tokens(self) -> int:
        """vLLM's default of tokens in a batch."""
        return 8192 if self._is_large else 2048

    @property
    def sequences(self) -> int:
        """vLLM's default of requests in a batch."""
        return 1024 if self._is_large else 256

    @property
    def _is_large(self) -> bool:
        return self.memory_gib >= _LARGE_GIB and not self.small_batches


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reviewed: str
    gpus: dict[str, Gpu]


@functools.cache
def read_gpus() -> Mapping[str, Gpu]:
    """The table of the package."""
    text = resources.files("selvedge.plan.fit").joinpath("gpus.toml").read_text("utf-8")
    return MappingProxyType(msgspec.convert(tomllib.loads(text), _Table).gpus)


def find_gpu(name: str) -> tuple[str, Gpu]:
    """A row by its name or another name of it, whatever the case. Raises `BadPlan`."""
    gpus = read_gpus()
    wanted = name.casefold()
    for known, row in gpus.items():
        if wanted in (known.casefold(), *(alias.casefold() for alias in row.aliases)):
            return known, row
    meant = nearest(name, [*gpus, *(alias for row in gpus.values() for alias in row.aliases)])
    words = f"known are {', '.join(gpus)}{meant}"
    raise BadPlan(f"--gpu: {shortened(name)} is not in the table; {words}.")
