"""A fleet's history as stored: samples, findings, and the fleet file beside them."""

from selvedge.plan.history.columns import (
    POPS_MAX,
    RESOURCES,
    SAMPLES,
    SHARES,
    STEP_S,
    WHOLE_BP,
    Flag,
)
from selvedge.plan.history.findings import MEANINGS, Finding, FindingKind
from selvedge.plan.history.folder import (
    History,
    Manifest,
    Source,
    replace_file,
    settle,
    write_parquet,
)
from selvedge.plan.history.sites import BadPlan, PopSite, jurisdiction_of, read_sites, write_sites

__all__ = [
    "MEANINGS",
    "POPS_MAX",
    "RESOURCES",
    "SAMPLES",
    "SHARES",
    "STEP_S",
    "WHOLE_BP",
    "BadPlan",
    "Finding",
    "FindingKind",
    "Flag",
    "History",
    "Manifest",
    "PopSite",
    "Source",
    "jurisdiction_of",
    "read_sites",
    "replace_file",
    "settle",
    "write_parquet",
    "write_sites",
]
