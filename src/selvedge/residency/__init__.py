"""Floor 1: where data may be processed. Rules in, bitsets out; fails closed."""

from selvedge.residency.judgement import (
    Breach,
    Judge,
    word_of,
)
from selvedge.residency.rules import Allowed, Rule, Rules

__all__ = ["Allowed", "Breach", "Judge", "Rule", "Rules", "word_of"]
