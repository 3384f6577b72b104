"""Keys in shared memory: a process may die between any two writes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from selvedge.adapters import CLAIM_KEY_BYTES, Memory, SharedClaims
from selvedge.adapters.shared_claims import PLACES


class Died(Exception):
    """The process was killed before a write."""


class Mortal(SharedClaims):
    """A table whose process dies before its n-th write."""

    left = 1 << 30

    def _write(self, at: int, data: bytes) -> None:
        if self.left == 0:
            raise Died
        self.left -= 1
        super()._write(at, data)


@pytest.mark.parametrize("spent", [False, True])
@pytest.mark.parametrize("writes", range(24))
def test_a_death_at_any_write_blocks_nothing_and_forgets_nothing(writes: int, spent: bool) -> None:
    """Over a place that had another key: claim, then finish or free, cut off anywhere."""
    memory = Memory.private(SharedClaims.bytes_for(PLACES))
    dies, lives = Mortal(memory, 0, PLACES, 1), SharedClaims(memory, 0, PLACES, 2)
    keys = [bytes([number + 1]) * CLAIM_KEY_BYTES for number in range(PLACES + 1)]
    for at_us, key in enumerate(keys[:PLACES], 1):
        assert lives.claim(key, b"f" * 16, "rcpt_old", at_us=at_us, forget_us=0) is None
        lives.finish(key)
    key, reached = keys[PLACES], "nothing"
    dies.left = writes
    try:
        assert dies.claim(key, b"f" * 16, "rcpt_1", at_us=99, forget_us=0) is None
        reached = "claimed"
        (dies.finish if spent else dies.free)(key)
        reached = "ended"
    except Died:
        pass
    left = lives.left_by(1)
    assert [one.receipt for one in left] in ([], ["rcpt_1"])
    assert left or reached != "claimed" or not spent
    for one in left:
        lives.settle(one, spent=spent)
    assert not lives.left_by(1)
    held = lives.claim(key, b"f" * 16, "rcpt_2", at_us=100, forget_us=0)
    if spent and reached != "nothing":
        assert held is not None
        assert (held.receipt, held.runs) == ("rcpt_1", False)
    else:
        assert held is None
    for number in (2, 5):  # the others stand as before
        other = lives.claim(keys[number], b"f" * 16, "rcpt_2", at_us=101, forget_us=0)
        assert other is not None
        assert other.receipt == "rcpt_old"


RACER = """
import os, sys
from selvedge.adapters import Memory, SharedClaims
fd, size, keys_max, count = (int(one) for one in sys.argv[1:])
table = SharedClaims(Memory(fd, size), 0, keys_max, os.getpid())
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    key = (number + 1).to_bytes(8, "little") * 2
    if table.claim(key, bytes(16), str(os.getpid()), at_us=1, forget_us=0) is None:
        print(number)
        if number % 2:
            table.finish(key)
"""


def test_of_processes_that_race_one_has_each_key() -> None:
    keys_max, count = 16_384, 3_000
    memory = Memory.shared("test", SharedClaims.bytes_for(keys_max))
    given = [memory.fd, memory.size, keys_max, count]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, *map(str, given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[memory.fd],
        )
        for _ in range(3)
    ]
    for one in racers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in racers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    had = [one.communicate(timeout=60)[0].split() for one in racers]
    assert [one.returncode for one in racers] == [0, 0, 0]
    assert sorted(int(number) for of_one in had for number in of_one) == list(range(count))
    table = SharedClaims(memory, 0, keys_max, 1)
    left = [table.left_by(one.pid) for one in racers]
    evens = [[number for number in of_one if int(number) % 2 == 0] for of_one in had]
    assert [len(one) for one in left] == [len(one) for one in evens]
    os.close(memory.fd)
