"""The kept corpus of attacks on HTTP/1.1 framing: data, with a reference for each.

`ATTACKS` is what the differential tests, the fuzzers and `make torture ARGS=attack` send. Each
entry is one attempt to be understood in two ways; most end in `FOLLOW`, a request that must be seen
exactly where the attack ends, or not at all.
"""

from __future__ import annotations

from tests.attack.corpus.attack import FOLLOW, Attack
from tests.attack.corpus.bodies import BODIES
from tests.attack.corpus.heads import HEADS

ATTACKS: tuple[Attack, ...] = (*BODIES, *HEADS)

__all__ = ["ATTACKS", "FOLLOW", "Attack"]
