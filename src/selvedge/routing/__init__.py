"""Floor 1: which allowed engine answers soonest, and in which order to try them."""

from selvedge.routing.rank import Attempt, FleetMap, Load, Plan, place, prompt_tokens_of

__all__ = ["Attempt", "FleetMap", "Load", "Plan", "place", "prompt_tokens_of"]
