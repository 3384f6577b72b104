"""Floor 1: where data may be processed. Rules in, bitsets out; fails closed."""

from selvedge.residency.facts import Epoch, Facts, hash_policy, read_facts, write_facts
from selvedge.residency.judgement import (
    Breach,
    Judge,
    word_of,
)
from selvedge.residency.jurisdictions import (
    DAY_US,
    Group,
    Jurisdictions,
    Member,
    Party,
    Regime,
    Transfer,
    close,
    day_at,
    day_us,
)
from selvedge.residency.policies import (
    HORIZON_US,
    Answer,
    Clause,
    Compilation,
    Decider,
    Decisions,
    Fleet,
    Question,
    Written,
    compile_policy,
    expected,
    facts_of,
)
from selvedge.residency.rows import FOREVER_US, Row, rows_of
from selvedge.residency.rules import Allowed, Rule, Rules
from selvedge.residency.sites import Site, Sites
from selvedge.residency.stranding import Stranded, strandings

__all__ = [
    "DAY_US",
    "FOREVER_US",
    "HORIZON_US",
    "Allowed",
    "Answer",
    "Breach",
    "Clause",
    "Compilation",
    "Decider",
    "Decisions",
    "Epoch",
    "Facts",
    "Fleet",
    "Group",
    "Judge",
    "Jurisdictions",
    "Member",
    "Party",
    "Question",
    "Regime",
    "Row",
    "Rule",
    "Rules",
    "Site",
    "Sites",
    "Stranded",
    "Transfer",
    "Written",
    "close",
    "compile_policy",
    "day_at",
    "day_us",
    "expected",
    "facts_of",
    "hash_policy",
    "read_facts",
    "rows_of",
    "strandings",
    "word_of",
    "write_facts",
]
