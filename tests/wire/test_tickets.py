"""Tickets: every bound field holds, each is used once, and the book stays bounded."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Attestation, Attested, BadTicket, Outcome, Route, Usage
from selvedge.wire import Ticket, TicketBook, attest, body_hash, holds, issue, read_unverified
from selvedge.wire import tickets as module
from tests.ledger.test_receipts import ATTESTATION

KEY, OTHER = b"k" * 32, b"o" * 32
NOW_US = 1_800_000_000_000_000
SKEW_US = 30_000_000
TICKET = Ticket(
    id="t1",
    request_id="req_1",
    ingress="cgk",
    serving="sin",
    tenant="asean",
    data_class="default",
    rule="asean/default",
    allowed=("sin", "cgk"),
    release=7,
    release_hash="ab" * 32,
    route=Route.CHAT,
    model="chat",
    body_sha256=body_hash(b"{}"),
    deadline_ms=60_000,
    issued_us=NOW_US,
)


def ticket(**changes: object) -> Ticket:
    return msgspec.structs.replace(TICKET, **changes)


def check(
    written: str, book: TicketBook | None = None, now_us: int = NOW_US, key: bytes = KEY
) -> Ticket:
    read, signed, mac = read_unverified(written)
    (book or TicketBook("sin", 0)).check(read, signed, mac, key, now_us)
    return read


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_a_ticket_holds() -> None:
    assert check(issue(TICKET, KEY)) == TICKET


def test_golden() -> None:
    """The bytes and the MAC, made by other means."""
    fields = msgspec.to_builtins(TICKET)
    signed = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    mac = hmac.new(KEY, b"selvedge/ticket/v1\n" + signed, hashlib.sha256).digest()
    assert issue(TICKET, KEY) == f"{unpadded(signed)}.{unpadded(mac)}"
    assert body_hash(b"{}") == hashlib.sha256(b"{}").hexdigest()


OTHERS: dict[str, object] = {
    "id": "t2",
    "request_id": "req_2",
    "ingress": "fra",
    "serving": "fra",
    "tenant": "free",
    "data_class": "strict",
    "rule": "free/default",
    "allowed": ("sin", "cgk", "fra"),
    "release": 8,
    "release_hash": "cd" * 32,
    "route": Route.COMPLETIONS,
    "model": "embed",
    "body_sha256": body_hash(b"[]"),
    "deadline_ms": 60_001,
    "issued_us": NOW_US + 1,
    "hop": 2,
    "v": 2,
    "patience_us": 1,
    "handling": ("no-training",),
    "zones": ("eea",),
}


def test_every_field_is_bound() -> None:
    assert set(OTHERS) == set(Ticket.__struct_fields__)
    body, _, mac = issue(TICKET, KEY).partition(".")
    for field, value in OTHERS.items():
        forged, _, _ = issue(ticket(**{field: value}), OTHER).partition(".")
        assert forged != body
        with pytest.raises(BadTicket, match="MAC"):
            check(f"{forged}.{mac}")


@settings(deadline=None)
@given(st.data())
def test_every_bit_is_bound(data: st.DataObject) -> None:
    body, _, mac = issue(TICKET, KEY).partition(".")
    signed = bytearray(base64.urlsafe_b64decode(body + "=="))
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadTicket):
        check(f"{unpadded(bytes(signed))}.{mac}")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"serving": "fra"}, "is for PoP 'fra'"),
        ({"hop": 2}, "never forwarded again"),
        ({"hop": 0}, "never forwarded again"),
        ({"v": 2}, "version 2"),
        ({"issued_us": NOW_US - SKEW_US - 1}, "too old"),
        ({"issued_us": NOW_US + SKEW_US + 1}, "too old"),
    ],
)
def test_true_tickets_that_do_not_fit(changes: dict[str, object], why: str) -> None:
    with pytest.raises(BadTicket, match=why):
        check(issue(ticket(**changes), KEY))


def test_the_wrong_pair_of_pops() -> None:
    with pytest.raises(BadTicket, match="MAC"):
        check(issue(TICKET, KEY), key=OTHER)


@pytest.mark.parametrize("off_us", [-SKEW_US, 0, SKEW_US])
def test_clocks_may_differ_a_little(off_us: int) -> None:
    assert check(issue(ticket(issued_us=NOW_US + off_us), KEY))


def test_once() -> None:
    book = TicketBook("sin", 0)
    check(issue(TICKET, KEY), book)
    for later_us in (0, SKEW_US):
        with pytest.raises(BadTicket, match="used before"):
            check(issue(TICKET, KEY), book, NOW_US + later_us)
    with pytest.raises(BadTicket, match="too old"):
        check(issue(TICKET, KEY), book, NOW_US + SKEW_US + 1)
    check(issue(ticket(id="t2"), KEY), book)


def test_a_refused_ticket_is_not_used_up() -> None:
    book = TicketBook("sin", 0)
    with pytest.raises(BadTicket):
        check(issue(TICKET, KEY), book, key=OTHER)
    with pytest.raises(BadTicket):
        check(issue(TICKET, KEY), book, NOW_US + SKEW_US + 1)
    check(issue(TICKET, KEY), book)


def test_after_a_restart_old_tickets_are_refused() -> None:
    book = TicketBook("sin", NOW_US + 5)
    with pytest.raises(BadTicket, match="before this PoP started"):
        check(issue(TICKET, KEY), book, NOW_US + 6)
    check(issue(ticket(issued_us=NOW_US + 5), KEY), book, NOW_US + 6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-30, 30)), max_size=60))
def test_no_ticket_is_ever_accepted_twice(steps: list[tuple[int, int]]) -> None:
    """Time goes on in steps, ingress clocks are off by up to 30 s, every ticket is tried again."""
    book, now_us, written = TicketBook("sin", 0), NOW_US, []
    for number, (step_s, off_s) in enumerate(steps):
        now_us += step_s * 1_000_000
        written.append(issue(ticket(id=str(number), issued_us=now_us + off_s * 1_000_000), KEY))
        check(written[-1], book, now_us)
        for old in written:
            with pytest.raises(BadTicket):
                check(old, book, now_us)


def test_the_book_forgets_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 3)
    book = TicketBook("sin", 0)
    for number in range(3):
        check(issue(ticket(id=f"a{number}"), KEY), book)
    with pytest.raises(BadTicket, match="more than 3 tickets"):
        check(issue(ticket(id="a3"), KEY), book)
    later_us = NOW_US + 2 * SKEW_US
    with pytest.raises(BadTicket, match="more than 3"):
        check(issue(ticket(id="b0", issued_us=later_us), KEY), book, later_us)
    for number in range(3):
        fresh = ticket(id=f"b{number}", issued_us=later_us + 1)
        check(issue(fresh, KEY), book, later_us + 1)


@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "e30.",
        "e30.e30",
        "!!!!.e30",
        "a.b",
        "é.é",
        "bnVsbA.bnVsbA",
        unpadded(b"\xff\xfe") + ".e30",
        "A" * 40_000,
    ],
)
def test_what_is_no_ticket(written: str) -> None:
    with pytest.raises(BadTicket):
        check(written)


@given(st.text())
def test_no_text_breaks_the_reading(written: str) -> None:
    with pytest.raises(BadTicket):
        check(written)


def raw(attestation: Attestation) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(attestation, order="sorted"))


def test_attestations() -> None:
    attested = attest(ATTESTATION, KEY)
    assert holds(attested, KEY)
    assert not holds(attested, OTHER)
    signed = json.dumps(
        msgspec.to_builtins(ATTESTATION), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    mac = hmac.new(KEY, b"selvedge/attestation/v1\n" + signed, hashlib.sha256).digest()
    assert (bytes(attested.attestation), attested.mac) == (signed, unpadded(mac))
    assert attested.decode() == ATTESTATION


FORGED: dict[str, object] = {
    "ticket": "t2",
    "request_id": "req_2",
    "pop": "fra",
    "country": "DE",
    "entity": "other",
    "engine": "other",
    "model": "other",
    "model_digest": "other",
    "release_hash": "other",
    "outcome": Outcome.FAILED,
    "usage": Usage(output=1),
    "started_us": 1,
    "ended_us": 1,
    "v": 2,
}


@pytest.mark.parametrize("mac", ["", "é", "💥", "x" * 43])
def test_what_is_no_mac(mac: str) -> None:
    assert not holds(Attested(raw(ATTESTATION), mac), KEY)


def test_every_field_of_an_attestation_is_bound() -> None:
    assert set(FORGED) == set(ATTESTATION.__struct_fields__)
    mac = attest(ATTESTATION, KEY).mac
    for field, value in FORGED.items():
        forged = msgspec.structs.replace(ATTESTATION, **{field: value})
        assert not holds(Attested(raw(forged), mac), KEY)


def test_a_field_that_a_newer_pop_adds_keeps_its_mac() -> None:
    signed = msgspec.json.encode({**msgspec.to_builtins(ATTESTATION), "zeal": 1}, order="sorted")
    mac = hmac.new(KEY, b"selvedge/attestation/v1\n" + signed, hashlib.sha256).digest()
    newer = Attested(msgspec.Raw(signed), unpadded(mac))
    assert holds(newer, KEY)
    assert newer.decode() == ATTESTATION


def test_only_canonical_bytes_are_embedded() -> None:
    spaced = bytes(raw(ATTESTATION)).replace(b",", b", ")
    mac = hmac.new(KEY, b"selvedge/attestation/v1\n" + spaced, hashlib.sha256).digest()
    assert not holds(Attested(msgspec.Raw(spaced), unpadded(mac)), KEY)
