"""Floor 4: offline answers for the operator: our prices beside those of others, and what to ask."""

from selvedge.plan.comparison import Compared, Mix, Ours, compare, difference_ppm, ours_of, read_mix
from selvedge.plan.proposing import Cost, Proposed, Rule, propose, read_cost, read_costs, read_rule
from selvedge.plan.published import Market, Published, Vendor, read_market, read_price_map

__all__ = [
    "Compared",
    "Cost",
    "Market",
    "Mix",
    "Ours",
    "Proposed",
    "Published",
    "Rule",
    "Vendor",
    "compare",
    "difference_ppm",
    "ours_of",
    "propose",
    "read_cost",
    "read_costs",
    "read_market",
    "read_mix",
    "read_price_map",
    "read_rule",
]
