"""What a request says of who may answer it: OpenRouter's `provider` object, and `zone`.

All of it narrows what residency allows, and orders what is left. Prices are integers: micro-dollars
per million tokens, and per request.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from selvedge.fabric.policy import Handling

Sort = Literal["price", "throughput", "latency"]
SORTS: Final[tuple[Sort, ...]] = ("price", "throughput", "latency")


class Preferences(msgspec.Struct, frozen=True):
    """Names are of PoPs and providers, of who operates them, or ``own``: the fleet's own PoPs."""

    order: tuple[str, ...] = ()
    """These first; with ``fallbacks`` the others after them."""
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fallbacks: bool = True
    sort: Sort | None = None
    prompt_max: int | None = None
    completion_max: int | None = None
    request_max: int | None = None
    handling: tuple[Handling, ...] = ()
    """Beside that of its data class."""
    quantisations: tuple[str, ...] = ()
    """In lower case; none: any."""
    zone: str | None = None

    @property
    def caps(self) -> bool:
        """Whether it caps a price."""
        caps = (self.prompt_max, self.completion_max, self.request_max)
        return any(one is not None for one in caps)
