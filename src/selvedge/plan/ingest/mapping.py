"""The mapping file: which column or metric means what, and in which unit.

YAML. Nothing is guessed: a column without a unit is refused, and the error says what to write.
"""

from __future__ import annotations

import re
import zoneinfo
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from selvedge.plan.history import STEP_S, BadPlan
from selvedge.plan.ingest.measures import MEASURES, Kind
from selvedge.plan.ingest.units import unit_of

STEP_S_MAX: Final = 86_400
_NETWORK: Final = re.compile(r"[0-9A-Fa-f.:]+/\d+$")
_DELIMITER: Final = re.compile(r"[\t !#$%&()*,/:;<=>?@^_|~]")
EPOCHS: Final = {"epoch_s": 1000.0, "epoch_ms": 1.0, "epoch_us": 1e-3, "epoch_ns": 1e-6}
"""Formats of times that are numbers, with their milliseconds."""


class PopColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Whose row it is: a column or label, or one PoP for the whole file."""

    column: str = ""
    value: str = ""
    names: dict[str, str] = {}
    """What the source says -> what the fleet file says. What is not here stays as it is.

    A network (`192.0.2.0/24`) stands for its addresses; of several, the narrowest counts.
    """
    pattern: str = ""
    """A regular expression of which the first group is the PoP: `^([a-z]{3}\\d+)-`."""

    @cached_property
    def networks(self) -> dict[IPv4Network | IPv6Network, str]:
        """Those among the names."""
        return {ip_network(n): pop for n, pop in self.names.items() if _NETWORK.match(n)}


class TimeColumn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When it was."""

    column: str = ""
    format: str = "iso"
    """`iso`, `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`, or as strptime has it."""
    zone: str = ""
    """IANA name, for times that carry no zone of their own; there is no default."""
    marks: str = "start"
    """Whether it is the `start` or the `end` of an interval."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column of numbers."""

    column: str
    unit: str = ""


class Metric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Prometheus metric, by name, and which of its series count."""

    metric: str
    """Empty: the result of a query that has no name any more."""
    means: str
    unit: str = ""
    kind: str = "gauge"
    labels: dict[str, str] = {}
    """Label -> regular expression that the whole of its value matches."""
    without: dict[str, str] = {}
    """Label -> regular expression of series that are left out."""
    series: list[str] = []
    """Labels that tell series of one PoP apart; default: all but the PoP's."""


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mapping file says."""

    kind: Kind = Kind.INTERVAL
    step_s: int = STEP_S
    pop: PopColumn = PopColumn()
    time: TimeColumn = TimeColumn()
    series: str = ""
    """Column of the interface, host or device, where a PoP has several."""
    columns: dict[str, Measured] = {}
    """Measure -> column and unit."""
    width: int = 64
    """Bits of counters; 0 for those that never wrap."""
    uptime: Measured | None = None
    """Column with the time since the device started, and its unit: s or ms."""
    delimiter: str = ","
    decimal: str = "."
    metrics: list[Metric] = []
    fields: list[str | int] = []
    """Columns of a log whose lines have no header, in order."""
    sampling: int = 1
    """Of how many packets or requests one was seen, where flows and logs do not say."""


def read_mapping(path: Path) -> Mapping:
    """The file, checked. Raises `BadPlan`, which names field, limit and remedy."""
    yaml = YAML(typ="safe", pure=True)
    try:
        plain = yaml.load(path.read_bytes())
        found = msgspec.convert(plain, Mapping)
    except OSError as error:
        raise BadPlan(f"{path} cannot be read ({error.strerror}); name a mapping file.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())
        raise BadPlan(f"{path} is not YAML: {words}.") from error
    except msgspec.ValidationError as error:
        raise BadPlan(f"{path}: {error}; docs/plan-ingest.md has the fields.") from error
    _check_table(path, found)
    for index, metric in enumerate(found.metrics):
        _check_metric(f"{path}: metrics[{index}]", metric)
    return found


def _check_table(path: Path, found: Mapping) -> None:
    if not 1 <= found.step_s <= STEP_S_MAX:
        raise BadPlan(f"{path}: step_s {found.step_s} is not 1 to {STEP_S_MAX} seconds.")
    if found.width not in (0, 32, 64):
        raise BadPlan(f"{path}: width {found.width} is none of 0, 32, 64.")
    if found.time.marks not in ("start", "end"):
        raise BadPlan(f"{path}: time.marks {found.time.marks!r} is neither start nor end.")
    if found.time.zone and found.time.zone not in zoneinfo.available_timezones():
        raise BadPlan(f"{path}: time.zone {found.time.zone!r} is no IANA zone, as Europe/Berlin.")
    if found.sampling < 1:
        raise BadPlan(f"{path}: sampling {found.sampling} is below 1; of how many was one seen?")
    if len(found.delimiter) != 1 or not _DELIMITER.match(found.delimiter):
        words = "a tab, or one sign of ASCII that is no letter, digit, quote or point"
        raise BadPlan(f"{path}: delimiter {found.delimiter!r} is none; give {words}.")
    if found.decimal not in (".", ",") or found.decimal == found.delimiter:
        words = "is neither . nor , or is the delimiter as well; give the other one"
        raise BadPlan(f"{path}: decimal {found.decimal!r} {words}.")
    if found.pop.column and found.pop.value:
        raise BadPlan(f"{path}: pop has a column and a value; give one of them.")
    _check_pattern(f"{path}: pop.pattern", found.pop.pattern, groups=1)
    for name in found.pop.names:
        if _NETWORK.match(name):
            _check_network(f"{path}: pop.names", name)
    for measure, column in found.columns.items():
        _check_measure(str(path), measure)
        unit_of(f"{path}: columns.{measure}", measure, column.unit, found.kind)
    if found.uptime and found.uptime.unit not in ("s", "ms"):
        raise BadPlan(f"{path}: uptime.unit {found.uptime.unit!r} is neither s nor ms.")


def _check_metric(where: str, metric: Metric) -> None:
    _check_measure(where, metric.means)
    if metric.kind not in (Kind.COUNTER, Kind.GAUGE):
        raise BadPlan(f"{where}: kind {metric.kind!r} is neither counter nor gauge.")
    unit_of(where, metric.means, metric.unit, Kind(metric.kind))
    for table in (metric.labels, metric.without):
        for label, pattern in table.items():
            _check_pattern(f"{where}: label {label}", pattern, groups=0)


def _check_network(where: str, name: str) -> None:
    try:
        ip_network(name)
    except ValueError as error:
        raise BadPlan(f"{where}: {error}; write it as 192.0.2.0/24.") from error


def _check_measure(where: str, measure: str) -> None:
    if measure not in MEASURES:
        raise BadPlan(f"{where}: {measure!r} is no measure; one of {', '.join(MEASURES)}.")


def _check_pattern(where: str, pattern: str, *, groups: int) -> None:
    try:
        found = re.compile(pattern).groups
    except re.error as error:
        raise BadPlan(f"{where}: {pattern!r} is no regular expression: {error}.") from error
    if pattern and found < groups:
        raise BadPlan(f"{where}: {pattern!r} has no group; put the PoP's part in brackets.")
