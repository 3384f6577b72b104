"""Which field of a log says what: a vendor's own names, or the mapping file's.

Names are compared without regard to case and punctuation, since one vendor writes `sc-bytes` as
text, `sc_bytes` as Parquet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from selvedge.plan.history import BadPlan
from selvedge.plan.ingest.mapping import EPOCHS, PopColumn
from selvedge.plan.ingest.reading import Kind, SourceFile
from selvedge.plan.ingest.units import factor_of, unit_of

OF_FILE: Final = "file"
"""As `pop.column` of a mapping: the file's own name."""
_SIGNS: Final = re.compile(r"[^a-z0-9]+")
_NEEDED: Final = {"pop": "the PoP", "at": "the time", "out_bytes": "the bytes sent"}


@dataclass(frozen=True, slots=True)
class Vendor:
    """Candidates for each role, the first that is there counts."""

    name: str
    roles: Mapping[str, tuple[str, ...]]
    pop_words: str = "name the field in the mapping file, as pop.column"
    """What to do where a log does not say which PoP it is of."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The fields of one log by role, and what is the same for all of its lines."""

    fields: dict[str, str] = field(default_factory=dict)
    pop: str = ""
    """The PoP of every line, where it is no field."""
    factors: dict[str, Fraction] = field(default_factory=dict)
    """Bytes that a field's number is."""


def plain(name: str) -> str:
    """A name without case and punctuation: `timestamp(ms)` is `timestamp_ms`."""
    return _SIGNS.sub("_", name.lower()).strip("_")


def choose(source: SourceFile, vendor: Vendor, names: Iterable[str]) -> Chosen:
    """The fields to read, of those that a log has. Raises `BadPlan` where one is missing."""
    there = list(dict.fromkeys(names))
    by_plain = {plain(name): name for name in reversed(there)}
    fields = {}
    for role, candidates in vendor.roles.items():
        known = [by_plain[plain(one)] for one in candidates if plain(one) in by_plain]
        if known:
            fields[role] = known[0]
    chosen = Chosen(fields, _constant(source), _by_mapping(source, fields, there))
    if chosen.pop:
        fields.pop("pop", None)
    if "date" in fields and "time" in fields and "at" not in fields:
        needed = [role for role in _NEEDED if role != "at"]
    else:
        fields.pop("date", None)
        fields.pop("time", None)
        needed = list(_NEEDED)
    for role in needed:
        if role not in fields and not (role == "pop" and chosen.pop):
            raise BadPlan(_missing(source, vendor, role, there))
    return chosen


def _constant(source: SourceFile) -> str:
    pop = source.mapping.pop if source.mapping else PopColumn()
    return source.name if pop.column == OF_FILE else pop.value


def _by_mapping(
    source: SourceFile, fields: dict[str, str], there: Sequence[str]
) -> dict[str, Fraction]:
    """Enter what the mapping file names; answers the factors of units."""
    factors: dict[str, Fraction] = {}
    mapping = source.mapping
    if mapping is None:
        return factors
    if mapping.time.format not in ("iso", *EPOCHS) or mapping.time.zone:
        words = "of a log, they are ISO 8601 with a zone, the common log's, or numbers since 1970"
        raise BadPlan(f"{source.name}: time.format and time.zone are for tables; {words}.")
    named = {"pop": mapping.pop.column, "at": mapping.time.column}
    for measure, measured in mapping.columns.items():
        where = f"{source.name}: columns.{measure} of the mapping file"
        unit = unit_of(where, measure, measured.unit, Kind.AMOUNT)
        named[measure] = measured.column
        factors[measure] = factor_of(measure, unit, Kind.AMOUNT, mapping.step_s)
    for role, name in named.items():
        if name and not (role == "pop" and name == OF_FILE):
            if name not in there:
                raise BadPlan(
                    f"{source.name}: field {name!r} of the mapping file is not there; {_few(there)}"
                )
            fields[role] = name
    return factors


def _missing(source: SourceFile, vendor: Vendor, role: str, there: Sequence[str]) -> str:
    known = [name for name in vendor.roles.get(role, ()) if ":" not in name]
    wanted = ", ".join(known) or "none by default"
    words = vendor.pop_words if role == "pop" else "name it in the mapping file"
    return f"{source.name}: no field says {_NEEDED[role]} ({wanted}); {words}. {_few(there)}"


def _few(there: Sequence[str]) -> str:
    return f"There are {', '.join(there[:30]) or 'none'}."
