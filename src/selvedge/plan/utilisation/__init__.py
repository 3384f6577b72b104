"""The utilisation report: where a fleet idles, when, and how sure that is."""

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

__all__ = [
    "FLEET",
    "HOURS_OF_WEEK",
    "LEVELS",
    "TABLES",
    "Facts",
    "Level",
    "Utilisation",
    "empty_tables",
]
