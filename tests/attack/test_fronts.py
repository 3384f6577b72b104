"""The kept corpus over real sockets: directly, through nginx and through HAProxy."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.attack import ROADS, attack_all
from bench.attack_fronts import find
from bench.attack_recorders import Message
from tests.attack.corpus import ATTACKS
from tests.support import run
from tests.wire.test_http1_h11 import read_h11

FEWEST_SAME = {"direct": 60, "nginx": 60, "haproxy": 60}


def cut_by_h11(raw: bytes) -> list[Message]:
    """What h11 makes of the bytes, whole messages only."""
    messages, _ = read_h11(raw)
    return [(one[0], one[1], one[4]) for one in messages if one[5]]


@pytest.mark.parametrize("road", ROADS)
def test_every_attack_is_seen_as_h11_sees_it_or_refused(road: str, tmp_path: Path) -> None:
    if road != "direct" and find(road) is None:
        pytest.skip(f"{road} is not installed; `make torture ARGS=attack` as root installs it")

    result = run(attack_all(ATTACKS, (road,), tmp_path, cut_by_h11), timeout_s=150)

    assert result.differing == []
    assert result.tried == len(ATTACKS)
    assert result.count(road, "same") >= FEWEST_SAME[road]
