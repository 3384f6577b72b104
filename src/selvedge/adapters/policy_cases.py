"""Cases that a policy is held to, as people write them: YAML -> what is asked and what is expected.

    published: 2026-11-22                  # as if it were published then; left out: today
    cases:
      - { class: acme/standard, site: fra, act: process, expect: deny }
      - { class: acme/standard, country: [SG, ID], act: [enter, process], day: 2027-01-01,
          expect: allow }

``class``, ``site``, ``country`` and ``act`` may each be a list: then every one of them is a case.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final, Literal

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters.jurisdiction_files import read_beside
from selvedge.adapters.yaml_text import one_line, read_yaml
from selvedge.fabric import BadRelease
from selvedge.residency import Asked

CASES_BYTES_MAX: Final = 4 * 1024 * 1024

OneOrMore = str | list[str]


class CaseConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"data_class": "class"}
):
    """A row of the file. ``note`` is shown where it fails."""

    data_class: OneOrMore
    act: Asked | list[Asked]
    expect: Literal["allow", "deny"]
    site: OneOrMore | None = None
    country: OneOrMore | None = None
    day: date | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if (self.site is None) == (self.country is None):
            raise ValueError("name 'site' or 'country', one of them")


class CasesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    cases: list[CaseConfig]
    published: date | None = None


def read_cases(path: Path) -> CasesConfig:
    """The cases of a file. Raises `BadRelease` that names file and row."""
    try:
        found = msgspec.convert(read_yaml(read_beside(path, CASES_BYTES_MAX)), CasesConfig)
    except (YAMLError, msgspec.ValidationError) as error:
        raise BadRelease(str(path), one_line(error)) from error
    if not found.cases:
        raise BadRelease(str(path), "has no cases; write one under 'cases:'")
    return found


def listed(one: OneOrMore) -> list[str]:
    """One or more, as a list."""
    return [one] if isinstance(one, str) else list(one)
