"""Floor 1: which allowed engine answers soonest, and in which order to try them."""

from selvedge.routing.load import COOLING_US, Load, LoadBook, place
from selvedge.routing.rank import (
    BYTES_PER_TOKEN,
    Attempt,
    FleetMap,
    FleetTables,
    Plan,
    prompt_tokens_of,
)

__all__ = [
    "BYTES_PER_TOKEN",
    "COOLING_US",
    "Attempt",
    "FleetMap",
    "FleetTables",
    "Load",
    "LoadBook",
    "Plan",
    "place",
    "prompt_tokens_of",
]
