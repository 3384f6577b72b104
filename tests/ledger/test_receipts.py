"""Receipts as bytes: RFC 8785, the leaf, the seal. What is pinned here must never change."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Attestation, Attested, Outcome, Receipt, Tried, Usage
from selvedge.ledger import (
    INTEGER_MAX,
    LEAF_DOMAIN,
    SALT_BYTES,
    Sealed,
    canonical,
    interrupted,
    leaf,
    seal,
)

SALT = bytes(range(32))
USAGE = Usage(10, 5, 0, 20, 3, "reported")
ATTESTATION = Attestation(
    ticket="t1",
    request_id="req_1",
    pop="sin",
    country="SG",
    entity='Ünïcode "quoted" \\ €😀\u2028',
    engine="sin-chat",
    model="chat",
    model_digest="sha256:" + "11" * 32,
    release_hash="ab" * 32,
    outcome=Outcome.COMPLETE,
    usage=USAGE,
    started_us=1_800_000_000_000_100,
    ended_us=1_800_000_000_000_900,
)
RECEIPT = Receipt(
    id="rcpt_1",
    request_id="req_1",
    tenant="asean",
    project="default",
    key="asean",
    data_class="default",
    route="/v1/chat/completions",
    ingress_pop="cgk",
    ingress_country="ID",
    rule="asean/default",
    zone="asean",
    release=7,
    release_hash="ab" * 32,
    received_us=1_800_000_000_000_000,
    transit=False,
    model="chat",
    model_digest="sha256:" + "11" * 32,
    stream=True,
    body_bytes=64,
    allowed_pops=2,
    planned=("sin",),
    planned_in=("SG",),
    attempts=(Tried("sin", "SG", None, "relayed", "rtt 16 ms", 20, 1, INTEGER_MAX),),
    served_pop="sin",
    served_engine="sin-chat",
    served_entity="\x00\x08\t\n\x0b\x0c\r\x1f\x7f/",
    processed_in="SG",
    outcome=Outcome.COMPLETE,
    status=200,
    finish_reason="stop",
    usage=USAGE,
    first_token_us=1_800_000_000_000_500,
    ended_us=1_800_000_000_001_000,
    attested=Attested(msgspec.Raw(msgspec.json.encode(ATTESTATION, order="sorted")), "bWFj"),
)

# Written by hand from RFC 8785, not by the code under test.
GOLDEN = (
    '{"allowed_pops":2,'
    '"attempts":[{"country":"SG","ended_us":9007199254740991,"engine":null,'
    '"outcome":"relayed","pop":"sin",'
    '"reason":"rtt 16 ms","started_us":1,"tokens":20}],'
    '"attested":{"attestation":{"country":"SG","ended_us":1800000000000900,"engine":"sin-chat",'
    '"entity":"Ünïcode \\"quoted\\" \\\\ €😀\u2028","model":"chat",'
    '"model_digest":"sha256:' + "11" * 32 + '","outcome":"complete","pop":"sin",'
    '"release_hash":"' + "ab" * 32 + '","request_id":"req_1","started_us":1800000000000100,'
    '"ticket":"t1","usage":{"cache_read":5,"cache_write":0,"input_uncached":10,"output":20,'
    '"provenance":"reported","reasoning":3},"v":1},"mac":"bWFj"},'
    '"body_bytes":64,"cache":"off","cache_entry":null,"cache_from":null,"cache_similarity":null,'
    '"code":null,"data_class":"default","dialect":null,'
    '"ended_us":1800000000001000,"finish_reason":"stop","first_token_us":1800000000000500,'
    '"handling":[],"id":"rcpt_1","ingress_country":"ID","ingress_pop":"cgk",'
    '"key":"asean","model":"chat",'
    '"model_digest":"sha256:' + "11" * 32 + '","outcome":"complete","personal":null,'
    '"planned":["sin"],"planned_in":["SG"],"policy":null,'
    '"processed_in":"SG","project":"default",'
    '"purpose":"request","received_us":1800000000000000,'
    '"release":7,"release_hash":"' + "ab" * 32 + '","repeats":null,"request_id":"req_1",'
    '"route":"/v1/chat/completions","rule":"asean/default","seq":42,"served_engine":"sin-chat",'
    '"served_entity":"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\x7f/","served_pop":"sin",'
    '"status":200,"stream":true,"tenant":"asean","transit":false,'
    '"usage":{"cache_read":5,"cache_write":0,"input_uncached":10,"output":20,'
    '"provenance":"reported","reasoning":3},"v":1,"worker":0,"zone":"asean"}'
)
GOLDEN_LEAF = "17e445a37d0b6fef29ef238e8587db5d108f7ad5f88ccdeb88596079cafca25c"
BEFORE_CACHE = GOLDEN.replace('"dialect":null,', "").replace(
    '"cache_entry":null,"cache_from":null,"cache_similarity":null,', ""
)
BEFORE_CACHE_LEAF = "5944a9849f0ad59e58487cbb8f42ce88bcf2299da18cd9ce48e884969c811bca"
BEFORE_POLICY = BEFORE_CACHE.replace('"handling":[],', "").replace('"policy":null,', "")
BEFORE_POLICY_LEAF = "f17c62f4467734d9186251a314a0009de96c9deb3afb31d9e62ec006ea66fbcb"
# As it was before `purpose` and `repeats`: kept as written, read with defaults.
BEFORE = BEFORE_POLICY.replace('"purpose":"request",', "").replace('"repeats":null,', "")
BEFORE_LEAF = "ebed760aec90ab4f535c0aae80abf86587bf0d9b05fcfe83774fdfe084f9fb55"


def jcs(value: Any) -> bytes:  # Any: JSON
    """RFC 8785 for ASCII keys and no floats, by another implementation."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_golden_bytes() -> None:
    sealed = msgspec.structs.replace(RECEIPT, seq=42)
    assert canonical(sealed) == GOLDEN.encode()
    assert jcs(json.loads(GOLDEN)) == GOLDEN.encode()


def test_golden_leaf() -> None:
    independent = hashlib.sha256(b"selvedge/receipt/v1\n" + SALT + GOLDEN.encode()).hexdigest()
    assert independent == GOLDEN_LEAF
    assert seal(RECEIPT, 42, SALT, None).leaf().hex() == GOLDEN_LEAF
    assert leaf(GOLDEN.encode(), SALT).hex() == GOLDEN_LEAF
    assert (LEAF_DOMAIN, SALT_BYTES) == (b"selvedge/receipt/v1\n", 32)


@pytest.mark.parametrize(
    "before", [BEFORE_CACHE, BEFORE_POLICY, BEFORE, BEFORE.replace('"worker":0,', "")]
)
def test_receipts_from_before_a_field_keep_their_bytes(before: str) -> None:
    old = Sealed(msgspec.Raw(before.encode()), base64.b64encode(SALT).decode())
    assert old.decode() == msgspec.structs.replace(RECEIPT, seq=42)
    assert bytes(old.receipt) == before.encode()
    assert leaf(BEFORE.encode(), SALT).hex() == BEFORE_LEAF
    assert leaf(BEFORE_CACHE.encode(), SALT).hex() == BEFORE_CACHE_LEAF
    assert leaf(BEFORE_POLICY.encode(), SALT).hex() == BEFORE_POLICY_LEAF


def test_every_field_is_always_there() -> None:
    required = {
        name: getattr(RECEIPT, name)
        for name, default in zip(
            reversed(Receipt.__struct_fields__),
            [*reversed(Receipt.__struct_defaults__)] + [msgspec.NODEFAULT] * 99,
            strict=False,
        )
        if default is msgspec.NODEFAULT
    }
    bare = json.loads(canonical(Receipt(**required)))
    assert set(bare) == set(Receipt.__struct_fields__) == set(json.loads(GOLDEN))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(0, INTEGER_MAX)
tried = st.builds(
    Tried,
    texts,
    texts,
    st.none() | texts,
    st.sampled_from(["relayed", "failed", "gone", "rejected", "deadline"]),
    texts,
    integers,
    integers,
    integers,
)


@settings(deadline=None)
@given(texts, st.none() | texts, integers, st.booleans(), st.lists(tried, max_size=3).map(tuple))
def test_canonical_is_rfc_8785(
    entity: str, code: str | None, at_us: int, stream: bool, attempts: tuple[Tried, ...]
) -> None:
    receipt = msgspec.structs.replace(
        RECEIPT, served_entity=entity, code=code, ended_us=at_us, stream=stream, attempts=attempts
    )
    written = canonical(receipt)
    assert written == jcs(json.loads(written))
    assert b"\n" not in written
    assert msgspec.json.decode(written, type=Receipt) == receipt


def test_a_seal_gives_number_and_commitment() -> None:
    ciphertext = b"\x00\xffsecret"
    sealed = seal(RECEIPT, 9, SALT, base64.b64encode(ciphertext).decode())
    final = sealed.decode()
    assert final == msgspec.structs.replace(
        RECEIPT, seq=9, personal=hashlib.sha256(ciphertext).hexdigest()
    )
    assert base64.b64decode(sealed.salt) == SALT
    assert sealed.personal is not None
    assert base64.b64decode(sealed.personal) == ciphertext
    assert sealed.leaf() == hashlib.sha256(LEAF_DOMAIN + SALT + canonical(final)).digest()
    bare = seal(RECEIPT, 1, SALT, None)
    assert (bare.personal, bare.decode().personal) == (None, None)


def test_salts_hide_and_lengths_are_held() -> None:
    assert seal(RECEIPT, 1, SALT, None).leaf() != seal(RECEIPT, 1, SALT[::-1], None).leaf()
    for salt in (b"", SALT[1:], SALT + b"x"):
        with pytest.raises(ValueError, match="32 bytes"):
            seal(RECEIPT, 1, salt, None)


def test_what_is_no_receipt_is_not_decoded() -> None:
    with pytest.raises(msgspec.ValidationError):
        Sealed(msgspec.Raw(b'{"id":1}'), "").decode()


def test_interrupted_knows_nothing_of_the_end() -> None:
    draft = msgspec.structs.replace(RECEIPT, outcome=Outcome.COMPLETE, code="x", ended_us=0)
    found = interrupted(draft, 77)
    assert (found.outcome, found.status, found.code, found.ended_us) == (
        Outcome.INTERRUPTED,
        0,
        None,
        77,
    )
    assert found.id == draft.id
