"""Where GPUs go next: sites for them, with a bound that says how good the choice is."""

from selvedge.plan.placement.certificate import Certificate, Verdict, load_certificate, verify
from selvedge.plan.placement.instance import Median, Row, make_median
from selvedge.plan.placement.median import Answer, Effort
from selvedge.plan.placement.orlib import read_pmed
from selvedge.plan.placement.solving import solve

__all__ = [
    "Answer",
    "Certificate",
    "Effort",
    "Median",
    "Row",
    "Verdict",
    "load_certificate",
    "make_median",
    "read_pmed",
    "solve",
    "verify",
]
