"""The base of values whose module is compiled.

mypyc makes a class with a metaclass of its own without the options that its statement names, so
`class Rule(msgspec.Struct, frozen=True)` would be changeable once compiled. Options are inherited:
`class Rule(Value, frozen=True)` is frozen either way.
"""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True):
    """Frozen, compared by its fields, hashable where they are."""
