"""The utilisation report: where a fleet idles, when, and how sure that is."""

from selvedge.plan.utilisation.report import Asked, report
from selvedge.plan.utilisation.tables import (
    FLEET,
    HOURS_OF_WEEK,
    LEVELS,
    TABLES,
    Facts,
    Level,
    Utilisation,
    empty_tables,
)
from selvedge.plan.utilisation.tally import Hourly

__all__ = [
    "FLEET",
    "HOURS_OF_WEEK",
    "LEVELS",
    "TABLES",
    "Asked",
    "Facts",
    "Hourly",
    "Level",
    "Utilisation",
    "empty_tables",
    "report",
]
