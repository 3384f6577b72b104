"""Floor 4: offline answers for the operator: our prices beside those of others, and what to ask."""

from selvedge.plan.comparison import Compared, Mix, Ours, compare, difference_ppm, ours_of, read_mix
from selvedge.plan.completeness import (
    Findings,
    Numbered,
    compare_numbers,
    find_gaps,
    unread_of,
    where_of,
)
from selvedge.plan.demand_window import FoundWindow, find_window, named
from selvedge.plan.demand_zones import is_spelled_out, map_zones, read_zones, zone_in_words
from selvedge.plan.observed_demand import (
    BusyHour,
    Counting,
    ObservedDemand,
    demand_classes,
    demand_csv,
    make_demand,
    zone_classes,
)
from selvedge.plan.policy_explained import (
    Asking,
    Explained,
    ListRow,
    Why,
    explain,
)
from selvedge.plan.policy_simulation import (
    Affected,
    Simulation,
)
from selvedge.plan.proposing import Cost, Proposed, Rule, propose, read_cost, read_costs, read_rule
from selvedge.plan.published import Market, Published, Vendor, read_market, read_price_map
from selvedge.plan.report_pages import (
    draw_report,
)
from selvedge.plan.report_tables import (
    ReportTable,
    tables_of,
    tables_of_completeness,
)
from selvedge.plan.residency_checks import (
    check_report,
)
from selvedge.plan.residency_fold import (
    Judged,
    ReportAsked,
    ResidencyFold,
)
from selvedge.plan.residency_report import (
    ByIngress,
    ByRefusal,
    ByRule,
    Completeness,
    InvoiceSeen,
    LogSeen,
    Named,
    ProcessedAt,
    ReleaseUsed,
    ResidencyReport,
    Sample,
    SampledReceipt,
    Sent,
    StreamRuns,
    read_report,
    write_report,
)
from selvedge.plan.sampling import (
    SAMPLE_RULE,
    Draw,
    score_of,
    seed_of_auditor,
    seed_of_beacon,
)
from selvedge.plan.signed_reports import (
    SignedReport,
    open_report,
    sign_report,
)

__all__ = [
    "SAMPLE_RULE",
    "Affected",
    "Asking",
    "BusyHour",
    "ByIngress",
    "ByRefusal",
    "ByRule",
    "Compared",
    "Completeness",
    "Cost",
    "Counting",
    "Draw",
    "Explained",
    "Findings",
    "FoundWindow",
    "InvoiceSeen",
    "Judged",
    "ListRow",
    "LogSeen",
    "Market",
    "Mix",
    "Named",
    "Numbered",
    "ObservedDemand",
    "Ours",
    "ProcessedAt",
    "Proposed",
    "Published",
    "ReleaseUsed",
    "ReportAsked",
    "ReportTable",
    "ResidencyFold",
    "ResidencyReport",
    "Rule",
    "Sample",
    "SampledReceipt",
    "Sent",
    "SignedReport",
    "Simulation",
    "StreamRuns",
    "Vendor",
    "Why",
    "check_report",
    "compare",
    "compare_numbers",
    "demand_classes",
    "demand_csv",
    "difference_ppm",
    "draw_report",
    "explain",
    "find_gaps",
    "find_window",
    "is_spelled_out",
    "make_demand",
    "map_zones",
    "named",
    "open_report",
    "ours_of",
    "propose",
    "read_cost",
    "read_costs",
    "read_market",
    "read_mix",
    "read_price_map",
    "read_report",
    "read_rule",
    "read_zones",
    "score_of",
    "seed_of_auditor",
    "seed_of_beacon",
    "sign_report",
    "tables_of",
    "tables_of_completeness",
    "unread_of",
    "where_of",
    "write_report",
    "zone_classes",
    "zone_in_words",
]
