"""Floor 1: which allowed engine answers soonest, and in which order to try them."""

from selvedge.routing.attempts import (
    ATTEMPTS_MAX,
    BYTES_PER_TOKEN,
    Attempt,
    Candidate,
    Draws,
    Plan,
    Seat,
    prompt_tokens_of,
)
from selvedge.routing.board import BYTES_PER_S_MAX, NEAREST_MAX, Board
from selvedge.routing.digest import PUBLISHED_BYTES_MAX, Copy, Filter, Publisher
from selvedge.routing.load import COOLING_US, Load, LoadBook, place
from selvedge.routing.policies import POLICIES, Row, make_policy
from selvedge.routing.policies.predictive import Predictive, PredictiveKnobs
from selvedge.routing.policy import Policy
from selvedge.routing.rank import Catalogue, FleetMap
from selvedge.routing.signals import (
    Delta,
    EngineState,
    EngineStates,
    ModelReport,
    Report,
    Signals,
)

__all__ = [
    "ATTEMPTS_MAX",
    "BYTES_PER_S_MAX",
    "BYTES_PER_TOKEN",
    "COOLING_US",
    "NEAREST_MAX",
    "POLICIES",
    "PUBLISHED_BYTES_MAX",
    "Attempt",
    "Board",
    "Candidate",
    "Catalogue",
    "Copy",
    "Delta",
    "Draws",
    "EngineState",
    "EngineStates",
    "Filter",
    "FleetMap",
    "Load",
    "LoadBook",
    "ModelReport",
    "Plan",
    "Policy",
    "Predictive",
    "PredictiveKnobs",
    "Publisher",
    "Report",
    "Row",
    "Seat",
    "Signals",
    "make_policy",
    "place",
    "prompt_tokens_of",
]
