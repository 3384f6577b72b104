"""Public data is found above the working folder, or where it was named, or said to be missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from selvedge.adapters.public_data import DataMissing, find_data, read_lines


def test_found_above(tmp_path: Path) -> None:
    (tmp_path / "shared" / "data").mkdir(parents=True)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find_data(start=deep) == tmp_path / "shared" / "data"
    assert find_data(deep) == deep
    with pytest.raises(DataMissing, match="--data"):
        find_data(tmp_path / "nowhere")


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a\nb\n"))
    (tmp_path / "y").write_bytes(b"c")
    assert read_lines(tmp_path, "x.gz") == [b"a", b"b"]
    assert read_lines(tmp_path, "y") == [b"c"]
    (tmp_path / "z.gz").write_bytes(gzip.compress(b"a" * 100)[:20])
    for name, words in (("none", "cannot be read"), ("z.gz", "ends too early")):
        with pytest.raises(DataMissing, match=words):
            read_lines(tmp_path, name)
