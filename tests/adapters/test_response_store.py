from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.adapters import ResponseStore
from selvedge.adapters.response_store import MAP
from selvedge.fabric import StoreFailed

ME = ("asean", "default", "asean")
OTHERS = [
    ("eea", "default", "asean"),
    ("asean", "strict", "asean"),
    ("asean", "default", "eea"),
    ("asea", "ndefault", "asean"),
]
NOW = 1_800_000_000_000_000
TTL = 1_000_000


def store(directory: Path, bytes_max: int = 10_000) -> ResponseStore:
    return ResponseStore(directory, bytes_max, TTL)


ELSEWHERE = """
import sys
from pathlib import Path
from selvedge.adapters import ResponseStore
kept = ResponseStore(Path(sys.argv[1]), 10_000, 1_000_000)
owner = ("asean", "default", "asean")
print(kept.get(owner, "resp_1", int(sys.argv[2])).decode())
kept.put(owner, "resp_2", b"from elsewhere", int(sys.argv[2]))
"""


def test_what_is_kept_is_read_again_and_by_others_of_the_pop(tmp_path: Path) -> None:
    one = store(tmp_path)
    assert one.get(ME, "resp_1", NOW) is None
    assert one.put(ME, "resp_1", b"CANARY", NOW)
    argv = [sys.executable, "-c", ELSEWHERE, str(tmp_path), str(NOW)]
    other = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout == "CANARY\n"
    assert one.get(ME, "resp_2", NOW) == b"from elsewhere"
    assert one.put(ME, "resp_1", b"again", NOW)
    one.close()
    assert store(tmp_path).get(ME, "resp_1", NOW) == b"again"


@pytest.mark.parametrize("other", OTHERS)
def test_another_has_no_such_answer(other: tuple[str, str, str], tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.put(ME, "resp_1", b"x", NOW)
    assert kept.get(other, "resp_1", NOW) is None
    assert not kept.delete(other, "resp_1")
    assert kept.get(ME, "resp_1", NOW) == b"x"


def test_nothing_is_legible_on_the_disk(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.put(ME, "resp_sin_1", b"CANARY", NOW)
    kept.close()
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert len(files) == 3
    for path in files:
        data = path.read_bytes()
        assert not any(one in data for one in (b"CANARY", b"asean", b"resp_sin_1")), path


def test_deleted_is_gone(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.put(ME, "resp_1", b"x", NOW)
    assert kept.delete(ME, "resp_1")
    assert kept.get(ME, "resp_1", NOW) is None
    assert not kept.delete(ME, "resp_1")
    assert kept.bytes_kept == 0


def test_time_is_over_unless_it_is_used(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.put(ME, "resp_1", b"x", NOW)
    kept.put(ME, "resp_2", b"y", NOW)
    kept.touch(ME, ["resp_1"], NOW + TTL // 2)
    later = NOW + TTL
    assert kept.get(ME, "resp_1", later) == b"x"
    assert kept.get(ME, "resp_2", later) is None
    kept.put(ME, "resp_3", b"z", later)  # clears what is over
    assert kept.bytes_kept == 2 * (1 + 12 + 16)


@given(sizes=st.lists(st.integers(0, 400), max_size=30))
def test_bytes_are_bounded_and_the_oldest_goes_first(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = store(tmp_path_factory.mktemp("kept"), 1_000)
    for at, size in enumerate(sizes):
        assert kept.put(ME, f"resp_{at}", bytes(size), NOW + at)
        assert kept.bytes_kept <= 1_000
        assert kept.get(ME, f"resp_{at}", NOW + at) == bytes(size)
    here = [kept.get(ME, f"resp_{at}", NOW) is not None for at in range(len(sizes))]
    assert here == sorted(here)
    kept.close()


def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    kept = store(tmp_path, 10)
    assert not kept.put(ME, "resp_1", bytes(11), NOW)
    assert kept.bytes_kept == 0


def test_a_damaged_record_is_no_answer(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.put(ME, "resp_1", b"CANARY of some length", NOW)
    kept.close()
    data = (tmp_path / MAP / "data.mdb").read_bytes()
    one = store(tmp_path)
    sealed = one._env.begin().get(one._name(ME, "resp_1"), db=one._kept)
    one.close()
    assert sealed is not None
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    (tmp_path / MAP / "data.mdb").write_bytes(data.replace(sealed, changed))
    assert store(tmp_path).get(ME, "resp_1", NOW) is None


def test_a_map_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / MAP).mkdir()
    (tmp_path / MAP / "data.mdb").write_bytes(b"no map" * 10_000)
    with pytest.raises(StoreFailed, match="damaged"):
        store(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed):
        store(tmp_path / "file")
