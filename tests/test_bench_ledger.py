"""The books that torture closes: each thing that may not be is found where it is."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from bench.register import Done, HeldKey, Register, Row, audit_register
from bench.spending import MINUTE_US, Watched, spending
from selvedge.fabric import Outcome, Price, Receipt, Tried, Usage

PRICE = Price(1_000_000, 1_000_000)


def line(stamp: int, act: str, what: str, after: Row, request: str) -> Row:
    return {"stamp": stamp, "act": act, "what": what, "after": after, "request_id": request}


def books() -> tuple[Register, list[Row], list[Row]]:
    """Two keys: one lives, one was made and revoked. Lines come newest first."""
    one = {"id": "one", "removed_us": None, "version": 1}
    two = {"id": "two", "removed_us": None, "version": 1}
    gone = {"id": "two", "removed_us": 3, "version": 2}
    register = Register(
        keys={
            "one": HeldKey("one", "sk-one", 1.0),
            "two": HeldKey("two", "sk-two", 1.0, revoke_sent=True, revoked_s=2.0),
            "cut": HeldKey("cut"),
        },
        done=[
            Done("create", "one", "r1", one),
            Done("create", "two", "r2", two),
            Done("revoke", "two", "r3", gone),
        ],
    )
    lines = [
        line(3, "key.revoke", "key two", gone, "r3"),
        line(2, "key.create", "key two", two, "r2"),
        line(1, "key.create", "key one", one, "r1"),
    ]
    return register, [one, gone], lines


def kinds(register: Register, keys: list[Row], lines: list[Row]) -> set[str]:
    found = audit_register(register, keys, lines)
    return {kind for kind, words in found.items() if words}


def test_books_that_hold() -> None:
    assert kinds(*books()) == set()


def test_a_key_that_is_lost_or_was_never_revoked_by_anybody() -> None:
    register, keys, lines = books()
    assert "keys_lost" in kinds(register, keys[1:], lines)
    keys[0] = {**keys[0], "removed_us": 9}
    assert "keys_lost" in kinds(register, keys, lines)


def test_a_key_that_came_back() -> None:
    register, keys, lines = books()
    keys[1] = {**keys[1], "removed_us": None}
    assert kinds(register, keys, lines) == {"keys_came_back", "acts_halved"}


@pytest.mark.parametrize("at", range(3))
def test_an_act_without_its_line(at: int) -> None:
    register, keys, lines = books()
    del lines[at]
    assert "acts_without_audit" in kinds(register, keys, lines)


def test_a_line_that_says_something_else() -> None:
    register, keys, lines = books()
    lines[2] = copy.deepcopy(lines[2]) | {"after": {"id": "one", "version": 7}}
    assert kinds(register, keys, lines) == {"acts_without_audit", "acts_halved"}


def test_an_act_that_was_cut_off_is_whole_or_nothing() -> None:
    register, keys, lines = books()
    row = {"id": "cut", "removed_us": None, "version": 1}
    made = line(4, "key.create", "key cut", row, "r4")
    assert kinds(register, [*keys, row], [made, *lines]) == set()
    assert kinds(register, [*keys, row], lines) == {"acts_halved"}
    assert kinds(register, keys, [made, *lines]) == {"acts_halved"}


def test_lines_out_of_order() -> None:
    register, keys, lines = books()
    assert kinds(register, keys, lines[::-1]) == {"stamps_out_of_order"}


def receipt(minute: int, key: str = "narrow", **values: Any) -> Receipt:  # Any: of any field
    tried = Tried("sin", "SG", "plain", "answered", "", 200, 0, 0)
    base = Receipt(
        id="rcpt",
        request_id="req",
        tenant="warp",
        project="default",
        key=key,
        data_class="standard",
        route="/v1/chat/completions",
        ingress_pop="sin",
        ingress_country="SG",
        rule="warp/standard",
        zone="asean",
        release=1,
        release_hash="",
        received_us=minute * MINUTE_US + 7,
        transit=False,
        attempts=(tried,),
        outcome=Outcome.COMPLETE,
        status=200,
        usage=Usage(input_uncached=6, output=4),
    )
    return msgspec.structs.replace(base, **values)


def test_what_is_spent_in_each_window() -> None:
    watched = [Watched("narrow", "requests", 3, 1), Watched("sip", "tokens", 20, 5)]
    # Two lives of one minute, and one that goes on into the next.
    lives = [(0, 10), (11, 2 * MINUTE_US)]
    asked = [receipt(0)] * 5 + [receipt(1)] * 4
    asked += [receipt(1, outcome=Outcome.REFUSED), receipt(0, attempts=()), receipt(0, key="free")]
    asked += [receipt(1, key="sip"), receipt(1, key="sip")]
    found = spending(asked, watched, lives, PRICE)
    narrow, sip = found["narrow"], found["sip"]
    assert (narrow.admitted, narrow.windows, narrow.over) == (9, 2, [])
    assert (narrow.most, narrow.bound) == (5, 5)
    assert (sip.most, sip.bound, sip.over) == (20, 25, [])
    found = spending([*asked, receipt(1)], watched, lives, PRICE)
    assert found["narrow"].over == ["narrow: 5 in window 1, where 4 is most"]


def test_money_is_of_a_day() -> None:
    watched = [Watched("purse", "money", 15, 5)]
    asked = [receipt(0, key="purse"), receipt(9, key="purse")]
    found = spending(asked, watched, [(0, MINUTE_US)], PRICE)["purse"]
    assert (found.most, found.bound, found.windows) == (20, 20, 1)
