"""Where GPUs go next: sites for them, with a bound that says how good the choice is."""

from selvedge.plan.placement.answering import answer
from selvedge.plan.placement.certificate import Certificate, Verdict, load_certificate, verify
from selvedge.plan.placement.comparison import Choice, choice, choose_greedy, rules_of_thumb
from selvedge.plan.placement.demand import (
    Demand,
    demand_by_population,
    read_demand,
    zone_flags,
)
from selvedge.plan.placement.differences import Difference, compare_pairs
from selvedge.plan.placement.fronts import Limit, Point, read_budgets, read_counts, trace
from selvedge.plan.placement.instance import Median, Row, make_median
from selvedge.plan.placement.judging import Judged, judge
from selvedge.plan.placement.measures import Measures, measure
from selvedge.plan.placement.median import Answer, Effort, Tell, say_nothing
from selvedge.plan.placement.orders import Order
from selvedge.plan.placement.orlib import read_pmed
from selvedge.plan.placement.programme import (
    Actual,
    Step,
    Tracked,
    make_programme,
    read_actual,
    track,
)
from selvedge.plan.placement.question import Question, Wishes, make_question
from selvedge.plan.placement.reports import Compared, Place, Report, Shortage
from selvedge.plan.placement.retrofit import Retrofit, retrofit, retrofit_staffed
from selvedge.plan.placement.round_trips import (
    INFLATION_BAND,
    Measured,
    broken_triangles,
    distances_km,
    model_ms,
    override,
)
from selvedge.plan.placement.servers import Asked, Server, find_server, read_servers
from selvedge.plan.placement.solving import solve
from selvedge.plan.placement.staffing import Load, loads, share_out, staffed
from selvedge.plan.placement.worlds import Trial

__all__ = [
    "INFLATION_BAND",
    "Actual",
    "Answer",
    "Asked",
    "Certificate",
    "Choice",
    "Compared",
    "Demand",
    "Difference",
    "Effort",
    "Judged",
    "Limit",
    "Load",
    "Measured",
    "Measures",
    "Median",
    "Order",
    "Place",
    "Point",
    "Question",
    "Report",
    "Retrofit",
    "Row",
    "Server",
    "Shortage",
    "Step",
    "Tell",
    "Tracked",
    "Trial",
    "Verdict",
    "Wishes",
    "answer",
    "broken_triangles",
    "choice",
    "choose_greedy",
    "compare_pairs",
    "demand_by_population",
    "distances_km",
    "find_server",
    "judge",
    "load_certificate",
    "loads",
    "make_median",
    "make_programme",
    "make_question",
    "measure",
    "model_ms",
    "override",
    "read_actual",
    "read_budgets",
    "read_counts",
    "read_demand",
    "read_pmed",
    "read_servers",
    "retrofit",
    "retrofit_staffed",
    "rules_of_thumb",
    "say_nothing",
    "share_out",
    "solve",
    "staffed",
    "trace",
    "track",
    "verify",
    "zone_flags",
]
