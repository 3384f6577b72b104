"""Kept answers: found by their scope alone, purged at once, and never a reason to fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selvedge.adapters.answer_store import AnswerStore, Put
from selvedge.adapters.answer_store_marks import Purge
from selvedge.adapters.answer_store_records import KeptAnswer, Question
from selvedge.adapters.scope_keys import ScopeKeys
from selvedge.cache import Scope
from selvedge.fabric import StoreFailed, Usage

NOW = 1_700_000_000_000_000
HOUR = 3_600_000_000
ACME = Scope("acme", "chat", "eu", "p1")
PROBE = Path(__file__).with_name("store_probe.py")


def answer(**fields: object) -> KeptAnswer:
    given: dict[str, object] = {
        "id": "",
        "made_us": NOW,
        "ttl_us": HOUR,
        "model": "small",
        "payloads": (b'{"choices":[{"delta":{"content":"Hello"}}]}',),
        "finish_reason": "stop",
        "usage": Usage(input_uncached=7, output=1, provenance="reported"),
        "receipt": "rc_1",
        **fields,
    }
    return KeptAnswer(**given)  # type: ignore[arg-type]  # a table of its own fields


def exact(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return open_store(tmp_path)


def open_store(path: Path, **settings: int) -> AnswerStore:
    keys = ScopeKeys(path / "keys", writes=True)
    return AnswerStore(path / "answers", keys, writes=True, **settings)


def test_an_answer_is_found_again_whole(store: AnswerStore) -> None:
    kept = answer(tags=("faq",), model_digest="sha256:1", cost_micro=12)
    entry = store.put(Put(ACME, exact(1), kept), NOW)
    found = store.get(ACME, exact(1), NOW + 1)
    assert found is not None
    assert found.id == entry
    assert found.payloads == kept.payloads
    assert (found.usage, found.receipt, found.tags) == (kept.usage, "rc_1", ("faq",))
    assert store.get_entry(ACME, found.id, NOW + 1) == found
    named = answer(id="ce_" + "0a" * 12)
    assert store.put(Put(ACME, exact(2), named), NOW) == named.id


@pytest.mark.parametrize(
    "other",
    [
        Scope("other", "chat", "eu", "p1"),
        Scope("acme", "mail", "eu", "p1"),
        Scope("acme", "chat", "us", "p1"),
        Scope("acme", "chat", "eu", "p2"),
    ],
)
def test_another_scope_finds_nothing(store: AnswerStore, other: Scope) -> None:
    entry = store.put(Put(ACME, exact(1), answer()), NOW)
    store.put(Put(other, exact(2), answer()), NOW)
    assert entry is not None
    assert store.get(other, exact(1), NOW) is None
    assert store.get_entry(other, entry, NOW) is None


def test_a_record_moved_to_another_scope_does_not_open(store: AnswerStore) -> None:
    other = Scope("other", "chat", "eu", "p1")
    entry = store.put(Put(ACME, exact(1), answer()), NOW)
    store.put(Put(other, exact(2), answer()), NOW)
    assert entry is not None
    raw = bytes.fromhex(entry[3:])
    inside = store._map
    assert inside is not None
    with inside.env.begin(write=True) as txn:
        record = txn.get(store.keys.tag(ACME) + raw, db=inside.db["answers"])
        assert record is not None
        txn.put(store.keys.tag(other) + raw, record, db=inside.db["answers"])
    assert store.get_entry(other, entry, NOW) is None
    assert store.failures == 1


def test_it_expires(store: AnswerStore) -> None:
    store.put(Put(ACME, exact(1), answer()), NOW)
    assert store.get(ACME, exact(1), NOW + HOUR - 1) is not None
    assert store.get(ACME, exact(1), NOW + HOUR) is None
    after, gone = store.sweep(b"", 100, NOW + HOUR)
    assert (after, len(gone)) == (b"", 1)
    assert store.bytes_used == 0


def test_a_second_answer_takes_the_place_of_the_first(store: AnswerStore) -> None:
    first = store.put(Put(ACME, exact(1), answer()), NOW)
    second = store.put(Put(ACME, exact(1), answer(receipt="rc_2")), NOW)
    found = store.get(ACME, exact(1), NOW)
    assert found is not None
    assert found.receipt == "rc_2"
    assert first is not None
    assert store.get_entry(ACME, first, NOW) is None
    assert found.id == second != first
    assert store.used[store.keys.tag(ACME)].entries == 1


PURGES: list[tuple[str, Callable[[str], Purge], bool]] = [
    ("tenant", lambda _: Purge(tenant="acme"), True),
    ("another tenant", lambda _: Purge(tenant="other"), False),
    ("scope", lambda _: Purge(scope=ACME), True),
    ("tag", lambda _: Purge(tenant="acme", tag="faq"), True),
    ("another tag", lambda _: Purge(tenant="acme", tag="other"), False),
    ("another's tag", lambda _: Purge(tenant="other", tag="faq"), False),
    ("model", lambda _: Purge(tenant="acme", model="small"), True),
    ("everybody's model", lambda _: Purge(model="small"), True),
    ("another's model", lambda _: Purge(tenant="other", model="small"), False),
    ("entry", lambda entry: Purge(tenant="acme", entry=entry), True),
    ("another's entry", lambda entry: Purge(tenant="other", entry=entry), False),
    ("no entry", lambda _: Purge(tenant="acme", entry="ce_nonsense"), False),
]


@pytest.mark.parametrize(("name", "purge", "is_gone"), PURGES, ids=[one[0] for one in PURGES])
def test_a_purge(
    store: AnswerStore, name: str, purge: Callable[[str], Purge], is_gone: bool
) -> None:
    entry = store.put(Put(ACME, exact(1), answer(tags=("faq", "x"))), NOW)
    assert entry is not None
    store.purge(purge(entry), NOW + 1)
    assert (store.get(ACME, exact(1), NOW + 2) is None) == is_gone
    assert (store.get_entry(ACME, entry, NOW + 2) is None) == is_gone
    store.sweep(b"", 100, NOW + 2)
    assert (store.bytes_used == 0) == is_gone


def test_what_was_made_before_a_purge_is_not_kept_after_it(store: AnswerStore) -> None:
    store.put(Put(ACME, exact(1), answer()), NOW)
    store.purge(Purge(tenant="acme"), NOW + 5)
    assert store.put(Put(ACME, exact(2), answer(made_us=NOW + 5)), NOW + 9) is None
    assert store.put(Put(ACME, exact(2), answer(made_us=NOW + 6)), NOW + 9) is not None
    assert store.get(ACME, exact(2), NOW + 9) is not None


def test_marks_are_forgotten_once_swept(store: AnswerStore) -> None:
    store.put(Put(ACME, exact(1), answer()), NOW)
    store.purge(Purge(tenant="acme"), NOW)
    store.sweep(b"", 100, NOW)
    store.forget_marks(NOW)
    assert store._marks.newest() > 0
    store.forget_marks(NOW + 1)
    assert store._marks.newest() == 0


def test_a_sweep_goes_on_where_it_stopped(store: AnswerStore) -> None:
    store.put_all([Put(ACME, exact(n), answer()) for n in range(25)], NOW)
    after, slices, gone = b"", 0, 0
    while slices == 0 or after:
        after, removed = store.sweep(after, 10, NOW + HOUR)
        slices, gone = slices + 1, gone + len(removed)
    assert (slices, gone) == (3, 25)


def test_deleting_the_key_deletes_the_cache(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    copy = tmp_path / "stolen"
    store.put(Put(ACME, exact(1), answer()), NOW)
    store.sync()
    copy.write_bytes((tmp_path / "answers" / "answers-0" / "data.mdb").read_bytes())
    store.forget(store.keys.of_tenant("acme"))
    assert store.get(ACME, exact(1), NOW) is None
    store.close()
    # Not even with the file as it was: the key is in no file any more.
    again = open_store(tmp_path)
    (tmp_path / "answers" / "answers-0" / "data.mdb").write_bytes(copy.read_bytes())
    assert again.get(ACME, exact(1), NOW) is None
    assert again.put(Put(ACME, exact(1), answer()), NOW) is not None


def test_nothing_readable_lies_on_the_disk(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    words = Question("Where is my parcel?", b"b" * 16, by="key-7")
    kept = answer(tags=("surrogate",), served_pop="sin-1", model="large-model")
    store.put(Put(ACME, b"E" * 32, kept, words), NOW)
    store.purge(Purge(tenant="acme", tag="surrogate-2"), NOW)
    store.close()
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert len(files) >= 3
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path
        data = path.read_bytes()
        for word in (b"acme", b"chat", b"Hello", b"parcel", b"surrogate", b"sin-1", b"large-model"):
            assert word not in data, (path, word)
        assert b"E" * 32 not in data


def test_a_question_lives_with_its_answer(store: AnswerStore) -> None:
    question = Question("How?", b"b" * 16, b"slots", b"cluster1", "key-1")
    entry = store.put(Put(ACME, exact(1), answer(), question), NOW)
    assert entry is not None
    tag, raw = store.keys.tag(ACME), bytes.fromhex(entry[3:])
    assert store.question(tag, raw, NOW) == question
    assert store.question(tag, raw, NOW + HOUR) is None
    store.purge(Purge(tenant="acme"), NOW)
    assert store.question(tag, raw, NOW) is None


def test_small_things_are_sealed_to_their_place(store: AnswerStore) -> None:
    store.put(Put(ACME, exact(1), answer()), NOW)
    tag = store.keys.tag(ACME)
    store.keep_small("learned", [(tag + b"route", b"what it learned")])
    assert store.small("learned", tag + b"route") == b"what it learned"
    assert store.small("learned", tag + b"other") is None
    assert list(store.smalls("learned", tag)) == [tag + b"route"]


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put_all([Put(ACME, exact(n), answer()) for n in range(5)], NOW)
    store.purge(Purge(tenant="other"), NOW)
    used = dict(store.used)
    store.close()
    again = open_store(tmp_path)
    assert again.used == used
    assert again.get(ACME, exact(3), NOW) is not None
    again.put(Put(ACME, exact(9), answer()), NOW)
    again.purge(Purge(tenant="acme"), NOW)
    assert again.get(ACME, exact(9), NOW) is None


def test_one_process_writes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(StoreFailed):
        open_store(tmp_path)
    store.close()
    open_store(tmp_path).close()


def fill(store: AnswerStore, kept: KeptAnswer) -> None:
    for number in range(1, 100):
        store.put(Put(ACME, exact(number), kept), NOW)


def test_a_full_map_says_so_and_keeps_what_it_had(tmp_path: Path) -> None:
    store = open_store(tmp_path, bytes_max=2**18)
    first = store.put(Put(ACME, exact(0), answer()), NOW)
    big = answer(body=os.urandom(40_000), payloads=())
    with pytest.raises(StoreFailed):
        fill(store, big)
    count = store.used[store.keys.tag(ACME)].entries
    assert 1 < count < 100
    assert first is not None
    assert store.get_entry(ACME, first, NOW) is not None
    tag = store.keys.tag(ACME)
    store.remove(tag, [entry for entry, _, _ in list(store.entries(tag))])
    for number in range(2):  # Freed pages are used again two commits later.
        store.put(Put(ACME, exact(number), answer()), NOW)
    store.put(Put(ACME, exact(1000), big), NOW)


# Damage


def damaged(tmp_path: Path, how: Callable[[bytearray], bytearray]) -> AnswerStore:
    store = open_store(tmp_path)
    store.put_all([Put(ACME, exact(n), answer()) for n in range(500)], NOW)
    store.close()
    path = tmp_path / "answers" / "answers-0" / "data.mdb"
    path.write_bytes(how(bytearray(path.read_bytes())))
    return open_store(tmp_path)


def zeroed_pages(data: bytearray) -> bytearray:
    data[9 * 4096 : 30 * 4096] = bytes(21 * 4096)
    return data


def test_a_map_with_a_broken_structure_is_left(tmp_path: Path) -> None:
    store = damaged(tmp_path, zeroed_pages)
    assert store.begun_anew == 1
    assert store.get(ACME, exact(1), NOW) is None
    assert store.put(Put(ACME, exact(1), answer()), NOW) is not None
    assert store.get(ACME, exact(1), NOW) is not None
    assert [one.name for one in (tmp_path / "answers").glob("answers-*")] == ["answers-1"]


@pytest.mark.parametrize("size", [0, 100, 8192, 5 * 4096])
def test_a_map_that_was_cut_is_left(tmp_path: Path, size: int) -> None:
    store = damaged(tmp_path, lambda data: data[:size])
    assert store.begun_anew == 1 or store.used == {}
    assert store.put(Put(ACME, exact(1), answer()), NOW) is not None
    assert store.get(ACME, exact(1), NOW) is not None


def test_a_map_of_nonsense_is_left(tmp_path: Path) -> None:
    store = damaged(tmp_path, lambda data: bytearray(b"x" * len(data)))
    assert store.begun_anew == 1
    assert store.put(Put(ACME, exact(1), answer()), NOW) is not None


def test_an_altered_answer_is_dropped(tmp_path: Path) -> None:
    def flip(data: bytearray) -> bytearray:
        for at in range(len(data) - 100, 4096 * 3, -4096):
            data[at] ^= 1
        return data

    store = damaged(tmp_path, flip)
    found = [store.get(ACME, exact(n), NOW) for n in range(500)]
    assert store.failures > 0 or store.begun_anew
    assert all(one is None or one.payloads == answer().payloads for one in found)


# Other processes


def probe(tmp_path: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROBE), str(tmp_path), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def ask(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(words + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_purge_is_seen_by_other_processes_when_it_returns(tmp_path: Path) -> None:
    """And what was put, a new scope's key, a deleted key and a map that was left."""
    reader = probe(tmp_path, "read")
    try:
        assert ask(reader, "1 0") == "miss"
        store = open_store(tmp_path)
        store.put_all([Put(ACME, exact(n), answer(tags=(f"t{n}",))) for n in range(10)], NOW)
        # Nothing was there: it looks again a second later.
        assert ask(reader, f"1 {2_000_000}") == "hit"
        for number in range(10):
            assert ask(reader, f"{number} {2_000_001}") == "hit"
            store.purge(Purge(tenant="acme", tag=f"t{number}"), NOW)
            assert ask(reader, f"{number} {2_000_001}") == "miss"
        store.put(Put(ACME, exact(1), answer(made_us=NOW + 1)), NOW)
        assert ask(reader, f"1 {2_000_001}") == "hit"
        store.forget(store.keys.of_tenant("acme"))
        assert ask(reader, f"1 {2_000_001}") == "miss"
        store.put(Put(ACME, exact(1), answer(made_us=NOW + 1)), NOW)
        assert ask(reader, f"1 {2_000_001}") == "hit"
    finally:
        reader.communicate(timeout=30)
    store.close()


@pytest.mark.parametrize("after", [1, 7, 40])
def test_a_writer_that_is_killed_loses_nothing_it_said(tmp_path: Path, after: int) -> None:
    writer = probe(tmp_path, "write")
    assert writer.stdout is not None
    said = [int(writer.stdout.readline()) for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().split("\n")
    writer.communicate(timeout=30)
    said += [int(line) for line in rest[:-1]]
    store = open_store(tmp_path)
    assert store.begun_anew == 0
    assert all(store.get(ACME, exact(number), NOW) for number in said)
    store.close()
