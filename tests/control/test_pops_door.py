"""The door of the PoPs: what waits together is answered together, each its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from selvedge.control import pops_door
from selvedge.control.pops_door import GROUP_MAX, LEASES, PopsDoor
from selvedge.control.small_server import Answer
from selvedge.fabric import BadTicket, StoreFailed
from tests.support.admin import ask_door

BOUND_S = 30.0


class Slow:
    """A handler whose first group waits until it is let go."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.begun = threading.Event()
        self.go = threading.Event()

    def answer_all(self, bodies: Sequence[bytes]) -> list[bytes | BadTicket]:
        self.groups.append(len(bodies))
        self.begun.set()
        assert self.go.wait(BOUND_S)
        if b"full" in bodies:
            raise StoreFailed("the disk is full")
        return [BadTicket("forged") if body == b"forged" else body[::-1] for body in bodies]


def ask_all(slow: Slow, first: bytes, rest: Sequence[bytes]) -> list[Answer]:
    """One message, and while it is answered the rest."""

    async def run() -> list[Answer]:
        door = PopsDoor({LEASES: slow.answer_all})
        tasks = [asyncio.create_task(door.answer("POST", LEASES, first))]
        assert await asyncio.to_thread(slow.begun.wait, BOUND_S)
        tasks += [asyncio.create_task(door.answer("POST", LEASES, body)) for body in rest]
        await asyncio.sleep(0)
        slow.go.set()
        return await asyncio.gather(*tasks)

    return asyncio.run(run())


def test_what_comes_while_one_group_is_answered_is_the_next() -> None:
    slow = Slow()
    rest = [b"%d" % at for at in range(1000, 1000 + GROUP_MAX + 3)]
    answers = ask_all(slow, b"first", [*rest, b"forged"])
    assert slow.groups == [1, GROUP_MAX, 4]
    assert [one.body for one in answers[:-1]] == [b"tsrif", *(body[::-1] for body in rest)]
    assert answers[-1].status == 403


def test_who_shares_a_write_shares_its_failure_and_nobody_else_does() -> None:
    slow = Slow()
    answers = ask_all(slow, b"first", [b"a", b"full"])
    assert [one.status for one in answers] == [200, 503, 503]
    assert dict(answers[1].headers)["retry-after"] == "2"


def test_more_than_may_wait_is_asked_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pops_door, "WAITING_BYTES_MAX", 3)
    answers = ask_all(Slow(), b"first", [b"four", b"more"])
    assert [one.status for one in answers] == [200, 200, 503]
    assert b"bytes of messages wait" in answers[2].body


def test_other_paths_and_methods() -> None:
    door = PopsDoor({})
    assert ask_door(door, b"", "GET").code == "method_not_allowed"
    assert ask_door(door, b"", target="/else").code == "not_found"
