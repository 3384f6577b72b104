"""What the cache process says of itself: scopes, routes, and everything it counts."""

from __future__ import annotations

from typing import Protocol

import msgspec

from selvedge.adapters.answer_store import AnswerStore
from selvedge.adapters.cache_process_desk import Desk
from selvedge.adapters.cache_process_engine import EngineJudges
from selvedge.adapters.cache_process_judges import Judges
from selvedge.adapters.cache_process_keeper import Keeper
from selvedge.adapters.cache_process_routes import Routes
from selvedge.adapters.cache_process_scopes import Scopes
from selvedge.adapters.embedder import EmbedQueue


class Parts(Protocol):
    """The process, as far as it is told of."""

    store: AnswerStore
    scopes: Scopes
    routes: Routes
    judges: Judges
    keeper: Keeper
    desk: Desk
    embedded: EmbedQueue | None
    no_embedder: str
    bad_frames: int
    errors: int
    unfit: int


def stats_of(parts: Parts, tenant: str | None = None) -> dict[str, object]:
    """What is kept, used and counted; with a tenant, its scopes alone."""
    scopes = []
    mark = None if tenant is None else parts.store.keys.tenant(tenant)
    for tag, use in list(parts.store.used.items()):
        key = parts.store.keys.by_tag(tag)
        if key is None or not use.entries or (mark is not None and key.tenant != mark):
            continue
        loaded = parts.scopes.loaded(tag)
        scopes.append(
            {
                "scope": _scope_name(parts, tag),
                "entries": use.entries,
                "bytes": use.bytes,
                "in_memory": None if loaded is None else loaded.memory_bytes,
                "routes": [
                    {
                        "observations": one.observations,
                        "shut": one.audit.broken,
                        "audits_unjudged": one.unaudited,
                    }
                    for one in parts.routes.all(tag)
                ],
            }
        )
    told: dict[str, object] = {"scopes": scopes}
    return told if tenant is not None else {**told, **_counts(parts)}


def _counts(parts: Parts) -> dict[str, object]:
    store, scopes, keeper, judges = parts.store, parts.scopes, parts.keeper, parts.judges
    embedded = parts.embedded
    return {
        "bytes": store.bytes_used,
        "bytes_max": store.bytes_max,
        "memory_bytes": scopes.memory_bytes,
        "recall": dict(vars(parts.desk.counts)),
        "kept": keeper.kept,
        "unfit": parts.unfit,
        "dropped": keeper.dropped,
        "evicted": keeper.evicted,
        "swept": keeper.swept,
        "failures": {
            "commits": keeper.failures,
            "records": store.failures,
            "maps_begun_anew": store.begun_anew,
            "keys_damaged": store.keys.damaged,
            "vectors_damaged": scopes.damaged,
            "vectors_unplaced": scopes.unplaced,
            "learning_forgotten": parts.routes.forgotten,
            "judge_unsaid": judges.unsaid,
            "frames": parts.bad_frames,
            "other": parts.errors,
        },
        "judge": judge_stats(judges.engines),
        "embedder": {
            "off": parts.no_embedder,
            "texts": 0 if embedded is None else embedded.texts,
            "batches": 0 if embedded is None else embedded.batches,
            "failed": 0 if embedded is None else embedded.failures,
            "refused": 0 if embedded is None else embedded.refused,
        },
    }


def judge_stats(engines: EngineJudges) -> dict[str, object]:
    """What models were asked, what they said, and what it cost. `tokens_today` is of scopes that
    spent since the process began.
    """
    return {
        "questions": engines.questions,
        "same": engines.same,
        "different": engines.different,
        "contradicted": engines.contradicted,
        "unclear": engines.unclear,
        "unasked": dict(sorted(engines.unasked.items())),
        "tokens": engines.tokens,
        "tokens_today": engines.spending.total(),
    }


def _scope_name(parts: Parts, tag: bytes) -> list[str]:
    plain = parts.store.small("scopes", tag)
    try:
        return [] if plain is None else msgspec.msgpack.decode(plain, type=list[str])
    except msgspec.MsgspecError:
        return []
