"""Real engines, PoPs and collectors: receipts, usage and the engines' own counters agree."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.fabric import running_fabric

SETTLE_S = 30.0


@pytest.mark.engine
@pytest.mark.fabric
def test_receipts_usage_and_engines_agree(tmp_path: Path) -> None:
    with running_fabric(tmp_path / "home") as fabric:
        for key in ("asean", "free", "eea", "asean"):
            told = fabric.call("ask", "Hello there", "--max-tokens", "8", "--key", key, "--json")
            assert told.code == 0, told.err
        pages = []
        for pop, running in fabric.running["pops"].items():
            for engine, url in running["engines"].items():
                if engine.endswith("-chat"):
                    page = tmp_path / f"{engine}.txt"
                    page.write_bytes(urllib.request.urlopen(f"{url}/metrics").read())
                    pages += ["--engine-metrics", f"{pop}/{engine}={page}"]
        assert len(pages) == 4
        late = time.monotonic() + SETTLE_S
        told = fabric.call("reconcile", *pages, "--json")
        while told.code != 0 and time.monotonic() < late:
            told = fabric.call("reconcile", *pages, "--json")
        assert told.json["findings"] == []
        assert (told.json["journalled"], told.json["collected"]) == (4, 4)
        assert [one["input_by_engine"] > 0 for one in told.json["engines"]] == [True, True]
        by_zone = {
            row["zone"]: row["receipts"]
            for row in fabric.call("usage", "--by", "zone", "--json").json
        }
        assert by_zone == {"anywhere": 1, "asean": 2, "eea": 1}
