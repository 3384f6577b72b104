"""What `make compile` compiles exists, and says nothing that mypyc would drop unseen."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTED = (ROOT / "scripts" / "compiled.txt").read_text("utf-8").split()
# Their values are made and read, never hashed or changed: dropping `frozen` changes nothing.
WITH_STRUCTS = {
    "adapters/receipt_book.py",
    "wire/http1.py",
    "wire/http1_body.py",
    "wire/http1_head.py",
}
STRUCT = re.compile(r"^class \w+\((msgspec\.)?Struct\b", re.M)


def test_what_is_compiled_exists_once_and_in_order() -> None:
    assert sorted(set(LISTED)) == LISTED
    for one in LISTED:
        assert (ROOT / "src" / "selvedge" / one).is_file(), one


def test_no_struct_whose_options_matter_is_compiled() -> None:
    found = {one for one in LISTED if STRUCT.search((ROOT / "src/selvedge" / one).read_text())}
    assert found == WITH_STRUCTS
