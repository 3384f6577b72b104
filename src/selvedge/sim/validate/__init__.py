"""External checks: the simulator's parts against what others have published or can be run.

Each check is a function of its sources that returns rows of ours, theirs and whether the bar is
met; the figures of others are constants with their source. Whoever may read files hands in the
traces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from selvedge.sim.validate.cache import check_cache
from selvedge.sim.validate.check import Check
from selvedge.sim.validate.llmd import check_llmd
from selvedge.sim.validate.replay import check_replay

Lines: TypeAlias = Callable[[str], list[bytes]]
"""The lines of a public file, by its path below the data folder."""

MOONCAKE: Final = "mooncake/conversation_trace.jsonl.gz"

CHECKS: Final[Mapping[str, Callable[[Lines], list[Check]]]] = MappingProxyType(
    {
        "mooncake-cache": lambda lines: check_cache(lines(MOONCAKE)),
        "dynamo-replay": lambda lines: check_replay(lines(MOONCAKE)),
        "llm-d-37": lambda _: check_llmd(),
    }
)
"""By the name that `selvedge sim validate` takes."""

__all__ = ["CHECKS", "MOONCAKE", "Check", "Lines"]
