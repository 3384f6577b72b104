"""Which receipts a service level counts: good, bad or not at all, by a table of rules.

The idea behind the table: **what a request's owner did is not held against us, and what we, our
engines or our lack of room did, is.** A rule is found by how the request ended (the settlement's
row), whatever was billed. Promises, percentiles and credits are in `service_levels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from selvedge.ledger.usage_rows import UsageRow

Counts = Literal["good", "bad", "excluded"]
PATIENT_US: Final = 10_000_000
"""Who has waited so long and seen nothing, was not hasty: it is ours."""
ALL_MODELS: Final = "*"


class ServiceRule(msgspec.Struct, frozen=True):
    """One rule. ``latency``: the times of a stream that ended so are measured."""

    name: str
    what: str
    counts: Counts
    why: str
    latency: bool = False


def _excluded() -> tuple[ServiceRule, ...]:
    return (
        ServiceRule(
            "maintenance", "received in an announced maintenance window", "excluded", "announced"
        ),
        ServiceRule(
            "batch", "a line of a batch", "excluded", "a batch is promised a day, not a moment"
        ),
        ServiceRule(
            "judge",
            "an engine was asked whether two answers of a cache say the same",
            "excluded",
            "nobody waited for it",
        ),
        ServiceRule(
            "yielded",
            "a probe refused for want of room",
            "excluded",
            "it asks for no room that a customer could have; to be busy is not to be down",
        ),
        ServiceRule(
            "replayed",
            "an answer given again for its `Idempotency-Key`",
            "excluded",
            "the first receipt counts",
        ),
        ServiceRule(
            "left",
            "the client left before a token: a stream in its first 10 s, or a whole answer",
            "excluded",
            "the client's doing; of a whole answer nobody knows how far it was",
        ),
        ServiceRule(
            "left_midway",
            "the client left a stream that had begun",
            "excluded",
            "the client's doing; what had come is measured",
            latency=True,
        ),
        ServiceRule(
            "hasty",
            "no token within a deadline of less than 10 s",
            "excluded",
            "the client set a time that nobody promised",
        ),
        ServiceRule(
            "cut_short",
            "the deadline ended a stream that had begun",
            "excluded",
            "the client set the time; what had come is measured",
            latency=True,
        ),
        ServiceRule(
            "client_fault",
            "refused or rejected: the request is wrong",
            "excluded",
            "a fault of the client",
        ),
        ServiceRule("policy", "refused: a rule or a quota forbids it", "excluded", "as agreed"),
    )


def _counted() -> tuple[ServiceRule, ...]:
    return (
        ServiceRule("answered", "the answer was whole", "good", "it was given", latency=True),
        ServiceRule(
            "from_cache",
            "a kept answer was given",
            "good",
            "it was given; its times say nothing of engines, and are not measured",
        ),
        ServiceRule(
            "silent",
            "the client left a stream after 10 s without a token",
            "bad",
            "it waited, and nothing came",
        ),
        ServiceRule(
            "late",
            "no token, or no whole answer, within a deadline of 10 s or more",
            "bad",
            "no room, or too slow",
        ),
        ServiceRule("failed", "every engine tried failed before a token", "bad", "ours"),
        ServiceRule(
            "broken",
            "engine, link or PoP broke a stream that had begun",
            "bad",
            "half an answer is none; its times are not measured as well",
        ),
        ServiceRule("capacity", "refused: no room, or none in time", "bad", "the room is ours"),
        ServiceRule("engine", "refused: the engine's fault, before any was asked", "bad", "ours"),
        ServiceRule("selvedge", "refused: a fault of ours", "bad", "ours"),
        ServiceRule("interrupted", "the PoP died between intent and record", "bad", "ours"),
    )


SERVICE_RULES: Final[Mapping[str, ServiceRule]] = MappingProxyType(
    {rule.name: rule for rule in _excluded() + _counted()}
)
"""Every rule, by name. The first four go before how the request ended."""

BY_END: Final[Mapping[str, str]] = MappingProxyType(
    {
        "complete": "answered",
        "cache_hit": "from_cache",
        "replayed": "replayed",
        "gone_before": "left",
        "gone_after": "left_midway",
        "deadline_before": "hasty",
        "deadline_after": "cut_short",
        "failed_before": "failed",
        "failed_after": "broken",
        "rejected": "client_fault",
        "rejected_after": "client_fault",
        "refused_caller": "client_fault",
        "refused_policy": "policy",
        "refused_capacity": "capacity",
        "refused_engine": "engine",
        "refused_selvedge": "selvedge",
        "interrupted": "interrupted",
    }
)
"""How a request ended, as the settlement's row -> rule."""

AFTER_PATIENCE: Final[Mapping[str, tuple[str, bool]]] = MappingProxyType(
    {"gone_before": ("silent", True), "deadline_before": ("late", False)}
)
"""The same of who waited `PATIENT_US` or longer; True: of streams alone."""

YIELDED_END: Final = "refused_capacity"
"""How a probe ends that found no room."""
UNKNOWN_END: Final = "selvedge"
"""The rule of an end that a newer version wrote: nobody's but ours."""


class Maintenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A time, announced before it began, that no service level counts. Microseconds UTC."""

    since_us: int
    until_us: int
    announced_us: int
    model: str = ALL_MODELS
    zone: str | None = None
    """None: all zones."""
    why: str = ""

    def holds(self, row: UsageRow) -> bool:
        """Whether this request came in it."""
        return (
            self.since_us <= row.received_us < self.until_us
            and self.model in (ALL_MODELS, row.model)
            and self.zone in (None, row.zone)
        )


def judge(row: UsageRow, windows: Iterable[Maintenance] = ()) -> str:
    """The name of a receipt's rule. Total: every receipt has one."""
    if any(one.holds(row) for one in windows):
        return "maintenance"
    if row.purpose in ("batch", "judge"):
        return row.purpose
    if row.purpose == "probe" and row.ended_as == YIELDED_END:
        return "yielded"
    patient = AFTER_PATIENCE.get(row.ended_as)
    if patient is not None and row.ended_us - row.received_us >= PATIENT_US:
        name, streams_alone = patient
        if row.stream or not streams_alone:
            return name
    return BY_END.get(row.ended_as, UNKNOWN_END)


def service_rules_table() -> str:
    """The rules as a Markdown table, for the documentation."""
    lines = ["| rule | what | counts | times measured | why |", "|---|---|---|---|---|"]
    lines += [
        f"| `{rule.name}` | {rule.what} | {rule.counts} | {'yes' if rule.latency else ''} "
        f"| {rule.why} |"
        for rule in SERVICE_RULES.values()
    ]
    return "\n".join(lines) + "\n"
