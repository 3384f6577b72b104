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
from selvedge.routing.load import COOLING_US, Load, LoadBook, place
from selvedge.routing.policies.predictive import Predictive, PredictiveKnobs
from selvedge.routing.policy import Policy
from selvedge.routing.rank import Catalogue, FleetMap
from selvedge.routing.signals import EngineState, EngineStates, ModelReport, Report, Signals

__all__ = [
    "ATTEMPTS_MAX",
    "BYTES_PER_TOKEN",
    "COOLING_US",
    "Attempt",
    "Candidate",
    "Catalogue",
    "Draws",
    "EngineState",
    "EngineStates",
    "FleetMap",
    "Load",
    "LoadBook",
    "ModelReport",
    "Plan",
    "Policy",
    "Predictive",
    "PredictiveKnobs",
    "Report",
    "Seat",
    "Signals",
    "place",
    "prompt_tokens_of",
]
