"""What of the receipts is demand for GPUs: by how a request ended, one table.

The rule behind it: **what a client asked that an engine would have had to answer is demand, whether
it was answered or not.** What needs no engine, what nobody may have, and what the operator asks
himself is none. What is refused before its story begins, for a key or by the loop's gate, has a
tally and no receipt, and is not seen here; nor is what a policy keeps no receipts of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from selvedge.fabric import REFUSALS
from selvedge.ledger.usage_rows import UsageRow


class DemandKind(NamedTuple):
    """One kind of request: which rows of the settlement it is, whether it counts, and why."""

    name: str
    what: str
    counts: bool
    why: str
    ends: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    """Of a refusal; these go before the ends."""


def _counted() -> tuple[DemandKind, ...]:
    return (
        DemandKind(
            "answered",
            "whole, or as far as its client wanted",
            True,
            "an engine worked",
            ("complete", "gone_after", "deadline_after", "rejected_after"),
        ),
        DemandKind(
            "at_provider",
            "the same, by a third party's engine",
            True,
            "a PoP's engine serves the model too",
        ),
        DemandKind(
            "in_vain",
            "the client left, or its time was over, before a token",
            True,
            "it asked, and waited",
            ("gone_before", "deadline_before"),
        ),
        DemandKind(
            "failed",
            "an engine, a PoP or a fault of ours broke it",
            True,
            "it asked",
            ("failed_before", "failed_after", "interrupted", "refused_engine", "refused_selvedge"),
        ),
        DemandKind(
            "no_room", "refused: no room", True, "room is the question", ("refused_capacity",)
        ),
        DemandKind(
            "no_place",
            "refused: its model is served, but nowhere inside its zone",
            True,
            "a site there could",
            (),
            ("residency_model",),
        ),
    )


def _left_out() -> tuple[DemandKind, ...]:
    return (
        DemandKind(
            "cached",
            "a kept answer was given, to a line of a batch too",
            False,
            "no engine worked; `--with-cached`",
            ("cache_hit",),
        ),
        DemandKind(
            "batch",
            "a line of a batch that would be demand otherwise",
            False,
            "it waits for a quiet hour; `--with-batch`",
            ("batch_line",),
        ),
        DemandKind(
            "provider_model",
            "for a model that third parties alone serve",
            False,
            "no GPU of ours has it",
        ),
        DemandKind(
            "repeated",
            "an answer given again for its `Idempotency-Key`",
            False,
            "its first receipt counts",
            ("replayed",),
        ),
        DemandKind(
            "limited",
            "refused: a rate, a quota or a budget is used up",
            False,
            "more than was sold",
            (),
            tuple(row.code for row in REFUSALS.values() if row.status == 429),
        ),
        DemandKind(
            "barred",
            "refused by residency or by the key's scope",
            False,
            "nobody may answer it here",
            ("refused_policy",),
        ),
        DemandKind(
            "wrong",
            "refused or rejected: the request is wrong; or its body never came whole",
            False,
            "no engine would do otherwise",
            ("refused_caller", "rejected"),
        ),
        DemandKind(
            "own",
            "probes, and judgements of the cache",
            False,
            "no client asked",
            ("probe", "judge"),
        ),
        DemandKind("unknown", "an end that a newer version wrote", False, "nobody here knows it"),
    )


DEMAND_KINDS: Final[Mapping[str, DemandKind]] = MappingProxyType(
    {one.name: one for one in _counted() + _left_out()}
)
"""Every kind, by name."""
OTHERS: Final = "others"
"""Of another tenant or model than was asked for: seen, and told nowhere."""
NO_ZONE: Final = ""
_BY_END: Final[Mapping[str, str]] = MappingProxyType(
    {end: one.name for one in DEMAND_KINDS.values() for end in one.ends}
)
_BY_CODE: Final[Mapping[str, str]] = MappingProxyType(
    {code: one.name for one in DEMAND_KINDS.values() for code in one.codes}
)
_UNREAD: Final = ("gone_before", "deadline_before")
"""Ends that are no demand where no model is known: the body had not come whole."""
_OF_A_MODEL: Final = (
    *(one.name for one in DEMAND_KINDS.values() if one.counts),
    *("cached", "batch"),
)
"""Kinds that are no demand in any case where no engine of ours has the model."""


class DemandAsked(NamedTuple):
    """Whose requests, and what a release says of models, sites and classes.

    Times are microseconds; `until_us` None: as far as receipts go. `now_us`: a receipt of later
    than that is of a wrong clock.
    """

    now_us: int
    since_us: int | None = None
    until_us: int | None = None
    tenant: str | None = None
    model: str | None = None
    providers: frozenset[str] = frozenset()
    """Third parties' sites."""
    provider_models: frozenset[str] = frozenset()
    """Models that no PoP's engine serves."""
    narrowed: frozenset[str] = frozenset()
    """``tenant/class`` of classes, and ``tenant:key`` of keys, that may not use all of a zone."""

    def kind(self, row: UsageRow) -> str:
        """The kind of a request. Total: every receipt has one. `kind_in_sql` says the same."""
        if (self.tenant is not None and row.tenant != self.tenant) or (
            self.model is not None and row.model != self.model
        ):
            return OTHERS
        kind = "own" if row.purpose in ("probe", "judge") else _kind(row)
        if kind not in _OF_A_MODEL:
            return kind
        if row.model in self.provider_models:
            return "provider_model"
        if kind == "cached":
            return kind
        if row.purpose == "batch" or kind == "batch":
            return "batch"
        if row.model is None and row.settled_by in _UNREAD:
            return "wrong"
        if kind == "answered" and row.served_pop in self.providers:
            return "at_provider"
        return kind

    def is_narrowed(self, row: UsageRow) -> bool:
        """Whether less than its zone is open to it, by the release."""
        names = (f"{row.tenant}/{row.data_class}", f"{row.tenant}:{row.key}")
        return bool(self.narrowed) and not self.narrowed.isdisjoint(names)


def _kind(row: UsageRow) -> str:
    end = row.settled_by
    by_code = _BY_CODE.get(row.code or "") if end == "refused_policy" else None
    return by_code or _BY_END.get(end, "unknown")


def kind_in_sql() -> str:
    """`DemandAsked.kind` over the columns of a `UsageRow`; its fields are parameters by name."""
    codes = "".join(
        f"WHEN settled_by = 'refused_policy' AND code = '{code}' THEN '{name}' "
        for code, name in _BY_CODE.items()
    )
    by_end = "".join(
        f"WHEN settled_by IN ({_listed(one.ends)}) THEN '{one.name}' "
        for one in DEMAND_KINDS.values()
        if one.ends
    )
    kind = f"CASE {codes}{by_end}ELSE 'unknown' END"
    return (
        "CASE WHEN ($tenant::VARCHAR IS NOT NULL AND tenant IS DISTINCT FROM $tenant) "
        "OR ($model::VARCHAR IS NOT NULL AND model IS DISTINCT FROM $model) "
        f"THEN '{OTHERS}' WHEN purpose IN ('probe', 'judge') THEN 'own' "
        f"WHEN {kind} NOT IN ({_listed(_OF_A_MODEL)}) THEN {kind} "
        "WHEN list_contains($provider_models::VARCHAR[], model) THEN 'provider_model' "
        f"WHEN {kind} = 'cached' THEN 'cached' "
        f"WHEN purpose = 'batch' OR {kind} = 'batch' THEN 'batch' "
        f"WHEN model IS NULL AND settled_by IN ({_listed(_UNREAD)}) THEN 'wrong' "
        f"WHEN {kind} = 'answered' AND list_contains($providers::VARCHAR[], served_pop) "
        f"THEN 'at_provider' ELSE {kind} END"
    )


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"'{one}'" for one in words)


def demand_kinds_table() -> str:
    """The kinds as a Markdown table, for the documentation."""
    lines = ["| kind | request | demand | why |", "|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {one.what} | {'yes' if one.counts else 'no'} | {one.why} |"
        for one in DEMAND_KINDS.values()
    ]
    return "\n".join(lines) + "\n"
