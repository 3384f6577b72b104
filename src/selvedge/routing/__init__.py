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
from selvedge.routing.catalogue import NOBODY, Catalogue
from selvedge.routing.digest import PUBLISHED_BYTES_MAX, Copy, Filter, Publisher
from selvedge.routing.held import Held
from selvedge.routing.load import COOLING_US, Load, LoadBook, place
from selvedge.routing.own import ANSWERS, UNTOLD, OwnEngines, Underway
from selvedge.routing.paces import Paces
from selvedge.routing.policies import POLICIES, Row, make_policy
from selvedge.routing.policies.predictive import Predictive, PredictiveKnobs
from selvedge.routing.policy import Policy
from selvedge.routing.publication import Known, Publications
from selvedge.routing.rank import FleetMap
from selvedge.routing.sight import take_apart
from selvedge.routing.signals import (
    Delta,
    EngineState,
    EngineStates,
    ModelReport,
    Report,
    Signals,
)
from selvedge.routing.told import Told

__all__ = [
    "ANSWERS",
    "ATTEMPTS_MAX",
    "BYTES_PER_S_MAX",
    "BYTES_PER_TOKEN",
    "COOLING_US",
    "NEAREST_MAX",
    "NOBODY",
    "POLICIES",
    "PUBLISHED_BYTES_MAX",
    "UNTOLD",
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
    "Held",
    "Known",
    "Load",
    "LoadBook",
    "ModelReport",
    "OwnEngines",
    "Paces",
    "Plan",
    "Policy",
    "Predictive",
    "PredictiveKnobs",
    "Publications",
    "Publisher",
    "Report",
    "Row",
    "Seat",
    "Signals",
    "Told",
    "Underway",
    "make_policy",
    "place",
    "prompt_tokens_of",
    "take_apart",
]
