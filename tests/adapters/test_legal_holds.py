"""Legal holds: set, released, and what a file that cannot be read means."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.adapters import Hold, held_tenants, read_holds, write_hold
from selvedge.fabric import StoreFailed


def test_the_last_act_on_a_tenant_counts_and_all_stay(tmp_path: Path) -> None:
    assert held_tenants(tmp_path) == frozenset()
    for at, (act, tenant) in enumerate(
        [("hold", "acme"), ("hold", "weft"), ("release", "acme"), ("hold", "warp")]
    ):
        write_hold(tmp_path, Hold(act, tenant, at, "alice", "case 7"))
    assert held_tenants(tmp_path) == {"weft", "warp"}
    assert [one.act for one in read_holds(tmp_path)] == ["hold", "hold", "release", "hold"]


def test_a_file_that_does_not_hold_lets_nothing_go(tmp_path: Path) -> None:
    write_hold(tmp_path, Hold("hold", "acme", 1, "alice", "case 7"))
    with (tmp_path / "holds.jsonl").open("ab") as file:
        file.write(b'{"act":"relea')
    with pytest.raises(StoreFailed, match="until then nothing is dropped"):
        held_tenants(tmp_path)
