"""Floor 1: where data may be processed. Rules in, bitsets out; fails closed."""

from selvedge.residency.rows import FOREVER_US, Row, rows_of
from selvedge.residency.rules import Allowed, Rule, Rules

__all__ = ["FOREVER_US", "Allowed", "Row", "Rule", "Rules", "rows_of"]
