"""A made-up fleet history, realistic and seeded, with faults whose truth is known."""

from selvedge.plan.synth.making import make_fleet, make_history
from selvedge.plan.synth.places import POPS_MAX, read_places
from selvedge.plan.synth.raw import RawTruth, read_raw_truth, write_raw
from selvedge.plan.synth.scoring import Score, score_findings
from selvedge.plan.synth.traits import NIGHT_USE
from selvedge.plan.synth.truth import Asked, TrueUse, Truth, read_truth

__all__ = [
    "NIGHT_USE",
    "POPS_MAX",
    "Asked",
    "RawTruth",
    "Score",
    "TrueUse",
    "Truth",
    "make_fleet",
    "make_history",
    "read_places",
    "read_raw_truth",
    "read_truth",
    "score_findings",
    "write_raw",
]
