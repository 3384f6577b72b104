"""Nobody finds what was kept for somebody else, and nobody can tell whether anything was."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import AnswerStore, KeptAnswer, Put, ScopeKeys
from selvedge.cache import Scope
from selvedge.fabric import CacheRule, Key, Release
from selvedge.ledger import hash_secret, settle, sums_of
from tests.support import Answer, Script, run
from tests.support.caches import open_cache, with_cache
from tests.support.fleets import bearer
from tests.support.pops import RIG_PEPPER, rig
from tests.support.wires import chat

NOW_US = 1_800_000_000_000_000
CRAFTED = (
    "What is the refund policy?",
    "What is the refund policy? ",
    "what is the refund policy?",
    'asean","default","asean',
    '"}],"tenant":"asean","x":[{"content":"What is the refund policy?',
    "\u202eWhat is the refund policy?",
    "What is the refund policy?\x00",
    "What is the refund policy?\u0301",
)


def narrowed(_: str, release: Release) -> Release:
    """One more key of `free`, which may only be processed in ASEAN."""
    made = with_cache(CacheRule())("", release)
    secret = hash_secret(RIG_PEPPER, "old", "secretoffree")
    key = Key(id="old", tenant="free", data_class="default", hash=secret, zones=("asean",))
    others = tuple(one for one in made.keys if one.id != "old")
    return msgspec.structs.replace(made, keys=(*others, key))


@pytest.mark.parametrize("seed", range(3))
def test_no_hit_ever_crosses(seed: int, tmp_path: Path) -> None:
    """Tenants, a narrowed key, crafted prompts: each hit is of the very question of its own scope.

    The receipts say so themselves, and what they bill adds up: hits bill nothing.
    """
    chance = random.Random(seed)
    keys = ("asean", "free", "old")
    asked = [(chance.choice(keys), chance.choice(CRAFTED)) for _ in range(120)]

    async def main() -> None:
        async with rig(tmp_path, sin=Script(Answer(("ok",))), amend=narrowed) as fabric:
            open_cache(fabric.pop("sin"))
            async with fabric.wire("sin") as wire:
                for key, text in asked:
                    body = chat(text, stream=chance.random() < 0.5)
                    answer = await wire.ask(bearer(key), body)
                    assert answer.status == 200
            receipts = fabric.pop("sin").receipts()
            calls = len(fabric.engines["sin"].requests)
        by_id = {one.id: (one, said) for one, said in zip(receipts, asked, strict=True)}
        hits = [one for one in receipts if one.cache == "hit"]
        for hit in hits:
            source, said = by_id[hit.cache_from or ""]
            assert said == by_id[hit.id][1]
            assert (source.tenant, source.key, source.rule) == (hit.tenant, hit.key, hit.rule)
            assert source.cache == "miss"
            assert settle(hit).billed.total == 0
        assert len(hits) == len(asked) - len(set(asked)) > 50
        assert calls == len(set(asked))
        made = [one for one in receipts if one.cache == "miss"]
        assert sums_of(receipts) == msgspec.structs.replace(sums_of(made), receipts=len(asked))

    run(main())


class _Reading:
    """A transaction that notes what is read."""

    def __init__(self, txn: Any, noted: list[bytes]) -> None:  # Any: lmdb's own
        self._txn = txn
        self._noted = noted

    def __enter__(self) -> _Reading:
        self._txn.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._txn.__exit__(*error)

    def get(self, key: bytes, db: object) -> bytes | None:
        """A read."""
        self._noted.append(key)
        found: bytes | None = self._txn.get(key, db=db)
        return found


def reads_of(store: AnswerStore, act: Callable[[], object]) -> list[bytes]:
    """The names that a look-up reads on the disk, in order."""
    assert store._map is not None
    env, noted = store._map.env, list[bytes]()

    class Env:
        def begin(self) -> _Reading:
            return _Reading(env.begin(), noted)

    store._map.env = Env()
    try:
        act()
    finally:
        store._map.env = env
    return noted


def test_what_another_tenant_has_changes_no_read(tmp_path: Path) -> None:
    """A look-up does the same whatever others keep: its time can tell nothing of them."""
    exact = bytes(range(32))
    kept = KeptAnswer("", NOW_US, 10**12, "chat", body=b"{}", finish_reason="stop")
    mine, theirs = Scope("a", "d", "z"), Scope("b", "d", "z")
    store = AnswerStore(tmp_path / "s", ScopeKeys(tmp_path / "k", writes=True), writes=True)
    store.put(Put(mine, bytes(32), kept), NOW_US)
    before = reads_of(store, lambda: store.get(mine, exact, NOW_US))
    unknown = reads_of(store, lambda: store.get(Scope("c", "d", "z"), exact, NOW_US))
    for number in range(200):
        store.put(Put(theirs, bytes([number]) * 32, kept), NOW_US)
    store.put(Put(theirs, exact, kept), NOW_US)
    assert store.get(theirs, exact, NOW_US) is not None
    assert reads_of(store, lambda: store.get(mine, exact, NOW_US)) == before
    assert reads_of(store, lambda: store.get(Scope("c", "d", "z"), exact, NOW_US)) == unknown == []
    tag = store.keys.tag(mine)
    assert [one.startswith(tag) for one in before] == [True]
    store.close()
