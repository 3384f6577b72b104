"""The public traces that a scenario may replay, by the word that it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from selvedge.fabric.value import Value
from selvedge.sim.azure import read_azure
from selvedge.sim.mooncake import read_mooncake
from selvedge.sim.pool import Timed
from selvedge.sim.validate import MOONCAKE


class Trace(Value, frozen=True):
    """A file below the folder of public traces, and how it is read."""

    file: str
    read: Callable[[Iterable[bytes], str], list[Timed]]


TRACES: Final[Mapping[str, Trace]] = MappingProxyType(
    {
        "mooncake": Trace(MOONCAKE, read_mooncake),
        "azure-conversation": Trace("azure-llm-2023/AzureLLMInferenceTrace_conv.csv", read_azure),
        "azure-code": Trace("azure-llm-2023/AzureLLMInferenceTrace_code.csv", read_azure),
    }
)
