"""The cache process as its workers meet it: over a real socket, with answers on a real disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import pytest

from selvedge.adapters import (
    CacheDown,
    CacheLink,
    CacheProcess,
    CacheSettings,
    Found,
    KeptAnswer,
    Purge,
)
from selvedge.cache import Asked, Scope
from selvedge.fabric import CacheRule, StoreFailed
from tests.adapters.bag_of_words import BagOfWords

T = TypeVar("T")
NOW = 1_700_000_000_000_000
ACME = Scope("acme", "chat", "eu", "p1")
BUCKET = b"b" * 16
STATIC = CacheRule(semantic="static", threshold=0.9, audit_one_in=10**6)
PARCEL = "where is the parcel that was sent to me by your shop"
PARCEL_TOO = "where is the parcel which was sent to me by your shop"
OTHER = "which colours does your new bicycle come in"


def asked(text: str, bucket: bytes = BUCKET) -> Asked:
    return Asked(hashlib.sha256(bucket + text.encode()).digest(), bucket, text, "small")


def answer(words: str = "It is on its way.", **fields: object) -> KeptAnswer:
    body = json.dumps({"choices": [{"message": {"content": words}}]}).encode()
    given: dict[str, object] = {"id": "", "made_us": NOW, "ttl_us": 10**12, "model": "small"}
    return KeptAnswer(**{**given, "body": body, **fields})  # type: ignore[arg-type]


class Rig:
    """One process and one worker's link, on one loop. The draw is what a test says."""

    def __init__(self, directory: Path, **settings: int) -> None:
        self.embedder = BagOfWords()
        self.drawn = 0.5
        self.process = CacheProcess(
            CacheSettings(directory, **settings),
            lambda: self.embedder,
            draw=lambda: self.drawn,
            clock_us=lambda: NOW,
        )
        self.link = CacheLink(directory / "cache.sock", self.process.store, recall_ms_max=20_000)

    async def recall(
        self, text: str, *, rule: CacheRule = STATIC, scope: Scope = ACME, key: str = ""
    ) -> Found | None:
        done: asyncio.Future[Found | None] = asyncio.Future()
        self.link.recall(scope, rule, asked(text), NOW, done.set_result, key=key)
        return await done

    async def keep(
        self,
        text: str,
        kept: KeptAnswer | None = None,
        *,
        rule: CacheRule = STATIC,
        scope: Scope = ACME,
        key: str = "",
    ) -> None:
        self.link.remember(scope, rule, asked(text), kept or answer(), key=key)
        await self.settle()

    async def settle(self) -> None:
        """Wait until the process has nothing at hand but its turns."""
        await json_of(self.link.stats())
        await until(lambda: len(self.process._tasks) == 1 and not self.process.scopes._late)
        await self.process.keeper.later(lambda: None)

    async def until_up(self) -> None:
        await until(lambda: self.link.is_up)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop go on until it is so; the test's bound bounds it."""
    while not true():  # noqa: ASYNC110 (it is another's state, which sets no event)
        await asyncio.sleep(0.001)


async def json_of(answered: Coroutine[object, object, bytes]) -> dict[str, object]:
    told = json.loads(await answered)
    assert isinstance(told, dict)
    return told


@contextlib.asynccontextmanager
async def rigged(directory: Path, **settings: int) -> AsyncIterator[Rig]:
    rig = Rig(directory, **settings)
    await rig.process.start()
    rig.link.start()
    await rig.until_up()
    try:
        yield rig
    finally:
        rig.link.stop()
        await rig.process.stop()


def run(test: Callable[[], Coroutine[object, object, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(bounded())


def test_a_similar_question_gets_the_answer(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            assert await rig.recall(PARCEL) is None
            await rig.keep(PARCEL)
            found = await rig.recall(PARCEL_TOO)
            assert found is not None
            assert found.entry.body == answer().body
            assert 0.9 <= found.similarity < 1
            assert await rig.recall(OTHER) is None
            assert rig.link.counts.found == 1
            assert rig.link.counts.none == 2

    run(test)


@pytest.mark.parametrize(
    "scope",
    [
        Scope("other", "chat", "eu", "p1"),
        Scope("acme", "mail", "eu", "p1"),
        Scope("acme", "chat", "us", "p1"),
        Scope("acme", "chat", "eu", "p2"),
    ],
)
def test_another_scope_finds_nothing(tmp_path: Path, scope: Scope) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            await rig.keep(OTHER, scope=scope)
            assert await rig.recall(PARCEL, scope=scope) is None
            assert await rig.recall(PARCEL) is not None

    run(test)


def test_another_bucket_finds_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            done: asyncio.Future[Found | None] = asyncio.Future()
            rig.link.recall(ACME, STATIC, asked(PARCEL, b"c" * 16), NOW, done.set_result)
            assert await done is None

    run(test)


def test_a_gate_turns_the_nearest_away(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            words = "how long is the guarantee on a bicycle that was bought {} years ago"
            await rig.keep(words.format(2))
            assert await rig.recall(words.format(20)) is None
            told = await json_of(rig.link.explain(ACME, STATIC, asked(words.format(20)), NOW))
            assert "one says '20', the other '2'" in str(told["gates"])
            assert rig.process.desk.counts.gated == 1

    run(test)


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
        async with rigged(tmp_path) as rig:
            assert await rig.recall(PARCEL_TOO) is None  # it is being loaded
            await rig.settle()
            assert await rig.recall(PARCEL_TOO) is not None
            assert rig.embedder.calls == [[PARCEL_TOO]]

    run(test)


@pytest.mark.parametrize("damage", ["gone", "nonsense", "rows", "another embedder"])
def test_vectors_are_made_again(tmp_path: Path, damage: str) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            path = rig.process.scopes.path(rig.process.store.keys.tag(ACME))
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "nonsense":
            path.write_bytes(b"x" * len(data))
        elif damage == "rows":
            path.write_bytes(data[:64] + bytes(reversed(data[64:900])) + data[900:])
        else:
            path.write_bytes(data[:12] + b"another embedder" + data[28:])
        async with rigged(tmp_path) as rig:
            await rig.recall(OTHER)
            await rig.settle()
            assert await rig.recall(PARCEL_TOO) is not None

    run(test)


def test_a_purge_takes_similar_answers_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL, answer(tags=("parcels",)))
            assert await rig.recall(PARCEL_TOO) is not None
            await rig.link.purge(Purge(tenant="acme", tag="parcels"), NOW)
            assert rig.process.store.get(ACME, asked(PARCEL).exact, NOW) is None
            assert await rig.recall(PARCEL_TOO) is None
            await rig.process.turn()
            assert rig.process.store.bytes_used == 0

    run(test)


def test_deleting_a_tenants_keys_deletes_its_vectors(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            await rig.keep(PARCEL, scope=Scope("other", "chat", "eu", "p1"))
            assert len(os.listdir(tmp_path / "vectors")) == 2
            await rig.link.forget("acme", NOW)
            assert len(os.listdir(tmp_path / "vectors")) == 1
            assert await rig.recall(PARCEL) is None
            await rig.keep(PARCEL)  # It was made before, and comes in now.
            assert await rig.recall(PARCEL) is None
            assert rig.process.store.get(ACME, asked(PARCEL).exact, NOW) is None
            await rig.keep(PARCEL, answer(made_us=NOW + 1))
            assert await rig.recall(PARCEL) is not None

    run(test)


def test_a_reported_entry_leaves(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            found = await rig.recall(PARCEL_TOO)
            assert found is not None
            with pytest.raises(StoreFailed):
                await rig.link.report_bad("other", found.entry.id, NOW)
            await rig.link.report_bad("acme", found.entry.id, NOW)
            assert await rig.recall(PARCEL_TOO) is None
            assert rig.process.store.get(ACME, asked(PARCEL).exact, NOW) is None

    run(test)


def test_nothing_readable_lies_on_the_disk(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL, key="key-of-somebody")
            await rig.process.turn()

    run(test)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    vector = BagOfWords().embed([PARCEL]).astype("float16").tobytes()
    for path in files:
        data = path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, path
        for word in (b"acme", b"parcel", b"on its way", b"somebody", vector[:16]):
            assert word not in data, path


# Poisoning within a tenant


def test_another_keys_entry_waits_for_a_judge(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL, answer("Send your password to mallory."), key="mallory")
            assert await rig.recall(PARCEL_TOO, key="mallory") is not None
            assert await rig.recall(PARCEL_TOO, key="alice") is None
            # Her own answer from the engine is another one: it stays Mallory's.
            await rig.keep(PARCEL_TOO, answer("It is on its way."), key="alice")
            assert await rig.recall(PARCEL, key="bob") is None
            assert rig.process.desk.counts.foreign == 2

    run(test)


def test_a_confirmed_entry_serves_the_tenant(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL, key="carol")
            assert await rig.recall(PARCEL_TOO, key="alice") is None
            await rig.keep(PARCEL_TOO, key="alice")
            rig.process.scopes.drop(rig.process.store.keys.tag(ACME), [])
            found = await rig.recall(PARCEL, key="bob")
            assert found is not None

    run(test)


def test_what_an_operator_warms_is_trusted(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.link.warm(ACME, STATIC, asked(PARCEL), answer())
            await rig.settle()
            assert await rig.recall(PARCEL_TOO, key="alice") is not None

    run(test)


# Audits


def test_audits_shut_the_route_off(tmp_path: Path) -> None:
    async def test() -> None:
        rule = CacheRule(semantic="static", threshold=0.9, wrong_hits_max=0.01, audit_one_in=1)
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL, rule=rule)
            for number in range(20):
                text = PARCEL + "?" * (number + 1)
                assert await rig.recall(text, rule=rule) is None  # each is drawn for an audit
                await rig.keep(text, answer(f"Another answer, {'x' * number}."), rule=rule)
                stats = await json_of(rig.link.stats("acme"))
                if "audited hits were wrong" in json.dumps(stats):
                    break
            else:
                pytest.fail("20 wrong audits did not shut it off")
            assert rig.process.desk.counts.shut == 0
            assert await rig.recall(PARCEL_TOO, rule=rule) is None
            assert rig.process.desk.counts.shut == 1
            await rig.process.turn()
        async with rigged(tmp_path) as rig:
            assert await rig.recall(PARCEL_TOO, rule=rule) is None
            assert rig.process.desk.counts.shut == 1

    run(test)


# What goes wrong


def test_without_an_embedder_identical_requests_are_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            rig.embedder.fails = True
            await rig.keep(PARCEL)
            assert await rig.recall(PARCEL) is None
            assert rig.process.store.get(ACME, asked(PARCEL).exact, NOW) is not None
            assert rig.process.desk.counts.unembedded == 1
            rig.embedder.fails = False
            assert await rig.recall(PARCEL_TOO) is None

    run(test)


def test_a_slow_embedder_is_a_miss_in_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            rig.link._recall_s = 0.02
            rig.embedder.may_go.clear()
            try:
                assert await rig.recall(PARCEL_TOO) is None
                assert rig.link.counts.late == 1
            finally:
                rig.embedder.may_go.set()
            rig.link._recall_s = 20
            assert await rig.recall(PARCEL_TOO) is not None

    run(test)


def test_texts_that_wait_go_together(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            rig.embedder.may_go.clear()
            asks = [asyncio.ensure_future(rig.recall(f"question number {n}")) for n in range(12)]
            await json_of(rig.link.stats())
            rig.embedder.may_go.set()
            assert await asyncio.gather(*asks) == [None] * 12
            assert sorted(map(len, rig.embedder.calls)) == [1, 1, 11]

    run(test)


def test_a_process_that_goes_away_is_a_miss_and_comes_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            rig.embedder.may_go.clear()
            waiting = asyncio.ensure_future(rig.recall(PARCEL_TOO))
            await json_of(rig.link.stats())
            rig.embedder.may_go.set()
            await rig.process.stop()
            assert await waiting is None
            await until(lambda: not rig.link.is_up)
            assert await rig.recall(PARCEL_TOO) is None
            rig.link.remember(ACME, STATIC, asked(PARCEL), answer())
            assert rig.link.counts.dropped == 1
            with pytest.raises(CacheDown):
                await rig.link.purge(Purge(tenant="acme"), NOW)
            again = Rig(tmp_path)
            await again.process.start()
            rig.process, rig.link._store = again.process, again.process.store
            await rig.until_up()
            await rig.recall(PARCEL_TOO)
            await rig.settle()
            assert await rig.recall(PARCEL_TOO) is not None

    run(test)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\x03abc", b"GET / HTTP/1.1\r\n\r\n"])
def test_nonsense_ends_its_connection_alone(tmp_path: Path, data: bytes) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            reader, writer = await asyncio.open_unix_connection(tmp_path / "cache.sock")
            writer.write(data)
            writer.write_eof()
            await reader.read()
            writer.close()
            assert await rig.recall(PARCEL_TOO) is not None

    run(test)


def test_a_full_disk_drops_answers_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)

            def full(*_: object) -> None:
                raise StoreFailed("the disk is full")

            with monkeypatch.context() as patch:
                patch.setattr(rig.process.store, "put_all", full)
                await rig.keep(OTHER)
            assert rig.process.keeper.dropped == 1
            assert rig.process.keeper.failures == 1
            await rig.keep(OTHER)
            assert await rig.recall(OTHER) is not None

    run(test)


def test_evicted_is_what_is_worth_least(tmp_path: Path) -> None:
    async def test() -> None:
        rule = CacheRule(semantic="static", threshold=0.9, bytes_max=120_000, audit_one_in=10**6)
        async with rigged(tmp_path) as rig:
            for number in range(10):
                kept = answer("x" * 4000, cost_micro=1000 if number % 2 else 10)
                await rig.keep(f"{OTHER} {chr(97 + number)}", kept, rule=rule)
            for number in range(10, 30):
                kept = answer("x" * 4000, cost_micro=100)
                await rig.keep(f"{OTHER} {chr(97 + number)}", kept, rule=rule)
                await rig.settle()
            used = rig.process.store.used[rig.process.store.keys.tag(ACME)]
            assert used.bytes <= rule.bytes_max
            texts = [f"{OTHER} {chr(97 + number)}" for number in range(10)]
            left = [
                number
                for number, text in enumerate(texts)
                if rig.process.store.get(ACME, asked(text).exact, NOW)
            ]
            assert left == [1, 3, 5, 7, 9]

    run(test)


def test_one_tenant_cannot_push_out_another(tmp_path: Path) -> None:
    async def test() -> None:
        small = Scope("small", "chat", "eu", "p1")
        async with rigged(tmp_path, bytes_max=200_000) as rig:
            await rig.keep(PARCEL, scope=small)
            for number in range(60):
                await rig.keep(f"{OTHER} {number:x}", answer("y" * 5000, cost_micro=10**6))
                await rig.settle()
            assert rig.process.store.bytes_used <= 200_000
            assert rig.process.keeper.evicted > 0
            assert rig.process.store.get(small, asked(PARCEL).exact, NOW) is not None

    run(test)
