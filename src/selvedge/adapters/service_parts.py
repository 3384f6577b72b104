"""The fold of service levels over partitions, by DuckDB; its rules are those of `ledger`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from selvedge.adapters.partitions import as_rows, reading
from selvedge.ledger import (
    AFTER_PATIENCE,
    ALL_MODELS,
    BY_END,
    ITL_STEP_US,
    PATIENT_US,
    PROBES,
    SERVICE_RULES,
    TTFT_STEP_US,
    UNKNOWN_END,
    YIELDED_END,
    Maintenance,
    ServiceAsked,
    ServicePlace,
    Tally,
)

FETCHED: Final = 10_000


def service_of_parts(parts: Sequence[Path], asked: ServiceAsked) -> dict[ServicePlace, Tally]:
    """Receipts by tenant, model and slot, of these parts; as `fold_service`."""
    found: dict[ServicePlace, Tally] = {}
    if not parts:
        return found
    with reading(parts) as database:
        query = _query(as_rows(database, parts), asked)
        answer = database.execute(query, _values(asked))
        while rows := answer.fetchmany(FETCHED):
            for tenant, model, slot, rule, ttft, itl, which, count in rows:
                tally = found.setdefault((tenant, model, slot), Tally())
                if which == "rule":
                    tally.rules[rule] = count
                elif which == "ttft":
                    tally.ttft[ttft] = count
                else:
                    tally.itl[itl] = count
    return found


def _values(asked: ServiceAsked) -> list[Any]:  # Any: what a query takes
    windows = [one for window in asked.windows for one in _window_values(window)]
    return [*windows, asked.since_us, asked.until_us, asked.tenant]


def _window_values(window: Maintenance) -> list[Any]:  # Any: what a query takes
    model = None if window.model == ALL_MODELS else window.model
    return [window.since_us, window.until_us, model, window.zone]


_HELD: Final = (
    "(received_us >= ? AND received_us < ? AND model IS NOT DISTINCT FROM coalesce(?, model) "
    "AND zone IS NOT DISTINCT FROM coalesce(?, zone))"
)


def _rule(windows: int) -> str:
    """A row's rule, in SQL; as `judge`."""
    cases = [f"WHEN {' OR '.join([_HELD] * windows)} THEN 'maintenance'"] if windows else []
    cases.append("WHEN purpose IN ('batch', 'judge') THEN purpose")
    cases.append(f"WHEN purpose = 'probe' AND ended_as = '{YIELDED_END}' THEN 'yielded'")
    for end, (rule, streams_alone) in AFTER_PATIENCE.items():
        streams = " AND stream" if streams_alone else ""
        waited = f"ended_us - received_us >= {PATIENT_US}{streams}"
        cases.append(f"WHEN ended_as = '{end}' AND {waited} THEN '{rule}'")
    cases += [f"WHEN ended_as = '{end}' THEN '{rule}'" for end, rule in BY_END.items()]
    return f"CASE {' '.join(cases)} ELSE '{UNKNOWN_END}' END"


def _query(table: str, asked: ServiceAsked) -> str:
    judged = (
        f"SELECT CASE purpose WHEN 'probe' THEN '{PROBES}' ELSE tenant END AS who, "
        "coalesce(model, '') AS what, "
        f"received_us // {asked.slot_us} * {asked.slot_us} AS slot, {_rule(len(asked.windows))} "
        "AS rule, stream, received_us, first_token_us AS first_us, ended_us, made - 1 AS gaps "
        f"FROM {table} WHERE NOT conflict AND received_us >= ? AND received_us < ? "
        "AND (purpose = 'probe' OR coalesce(tenant = ?, true))"
    )
    if not asked.times:
        return (
            f"WITH judged AS ({judged}) SELECT who, what, slot, rule, NULL, NULL, 'rule', "
            "count(*) FROM judged GROUP BY ALL"
        )
    sets = "(who, what, slot, rule), (who, what, slot, ttft), (who, what, slot, itl)"
    return (
        f"WITH judged AS ({judged}), timed AS (SELECT who, what, slot, rule, {_times()} "
        "FROM judged) SELECT who, what, slot, rule, ttft, itl, CASE WHEN grouping(rule) = 0 "
        "THEN 'rule' WHEN grouping(ttft) = 0 THEN 'ttft' ELSE 'itl' END AS which, count(*) "
        f"FROM timed GROUP BY GROUPING SETS ({sets}) "
        "HAVING which = 'rule' OR coalesce(ttft, itl) IS NOT NULL"
    )


def _times() -> str:
    """Steps to the first token and between tokens, in SQL; NULL where they are not measured."""
    rules = ", ".join(f"'{one.name}'" for one in SERVICE_RULES.values() if one.latency)
    streams = f"rule IN ({rules}) AND stream AND first_us IS NOT NULL"
    up = TTFT_STEP_US - 1
    ttft = f"(greatest(0, first_us - received_us) + {up}) // {TTFT_STEP_US}"
    step = f"(gaps * {ITL_STEP_US})"
    itl = f"(greatest(0, ended_us - first_us) + {step} - 1) // {step}"
    return (
        f"CASE WHEN {streams} THEN {ttft} END AS ttft, "
        f"CASE WHEN {streams} AND gaps > 0 THEN {itl} END AS itl"
    )
