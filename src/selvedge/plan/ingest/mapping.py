"""The mapping file: which column means what, and in which unit.

YAML. Nothing is guessed: a column without a unit is refused, and the error says what to write.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class PopColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose row it is: a column or label, or one PoP for the whole file."""

    column: str = ""
    value: str = ""
    names: dict[str, str] = {}
    """What the source says -> what the fleet file says. What is not here stays as it is."""
    pattern: str = ""
    """A regular expression of which the first group is the PoP: `^([a-z]{3}\\d+)-`."""


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mapping file says."""

    pop: PopColumn = PopColumn()


def read_mapping(path: Path) -> Mapping:
    """The file, checked. Raises `BadPlan`."""
    raise NotImplementedError(path)
