"""Does it pay: margins, break-even, prices at night, promises, renewals; and how sure it is."""

from selvedge.plan.economics.answers import (
    Asked,
    Economics,
    OfferRow,
    PlaceRow,
    YearRow,
    answer,
)
from selvedge.plan.economics.charts import Bar, Tornado, draw_svg, place
from selvedge.plan.economics.inputs import Inputs, limits_of, quantities_of, read_inputs, seed_path
from selvedge.plan.economics.observed import Observed, read_observed
from selvedge.plan.economics.pages import draw_page
from selvedge.plan.economics.quantities import Quantity
from selvedge.plan.economics.sensitivity import Interval, Swing
from selvedge.plan.economics.sheets import sheets_of
from selvedge.plan.economics.verdicts import Turn, Verdict

__all__ = [
    "Asked",
    "Bar",
    "Economics",
    "Inputs",
    "Interval",
    "Observed",
    "OfferRow",
    "PlaceRow",
    "Quantity",
    "Swing",
    "Tornado",
    "Turn",
    "Verdict",
    "YearRow",
    "answer",
    "draw_page",
    "draw_svg",
    "limits_of",
    "place",
    "quantities_of",
    "read_inputs",
    "read_observed",
    "seed_path",
    "sheets_of",
]
