"""The receipt's shape: frozen, every field of a kind that canonical JSON needs no rule for."""

from __future__ import annotations

import dataclasses
import types
import typing

import msgspec
import pytest

from selvedge.fabric import Attestation, Attested, Outcome, Personal, Receipt, Tried, Usage

RECEIPT = Receipt(
    id="rcpt_1",
    request_id="req_1",
    tenant="asean",
    project="default",
    key="asean",
    data_class="default",
    route="/v1/chat/completions",
    ingress_pop="sin",
    ingress_country="SG",
    rule="asean/default",
    zone="asean",
    release=7,
    release_hash="ab" * 32,
    received_us=1,
    transit=False,
)


def leaves(kind: object) -> set[object]:
    """All scalar types a field may hold."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType, tuple):
        return set().union(*(leaves(one) for one in typing.get_args(kind)))
    if typing.get_origin(kind) is typing.Literal:
        return {str}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return set().union(*(leaves(hints[name]) for name in kind.__struct_fields__))
    return set() if kind is Ellipsis else {kind}


def test_only_kinds_that_need_no_float_rules() -> None:
    assert leaves(Receipt) == {str, int, bool, type(None), Outcome, msgspec.Raw}
    assert leaves(Attestation) == {str, int, Outcome}, "what is raw in a receipt"


@pytest.mark.parametrize("kind", [Receipt, Tried, Attestation, Attested, Usage])
def test_names_are_ascii_and_nothing_is_left_out(kind: type[msgspec.Struct]) -> None:
    assert all(name.isascii() and name.islower() for name in kind.__struct_fields__)
    assert not kind.__struct_config__.omit_defaults
    assert not kind.__struct_config__.array_like
    assert kind.__struct_config__.tag is None
    assert kind.__struct_config__.frozen
    assert kind.__struct_fields__ == kind.__struct_encode_fields__


def test_no_field_for_text_or_person() -> None:
    assert {"client_ip", "end_user", "client_request_id"} == set(Personal.__struct_fields__)
    assert set(Personal.__struct_fields__).isdisjoint(Receipt.__struct_fields__)


def test_a_receipt_is_frozen_and_a_draft_says_interrupted() -> None:
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        RECEIPT.tenant = "other"  # type: ignore[misc]
    assert (RECEIPT.outcome, RECEIPT.seq, RECEIPT.v) == (Outcome.INTERRUPTED, 0, 1)
    assert (RECEIPT.status, RECEIPT.usage, RECEIPT.served_pop) == (0, None, None)


def test_outcomes() -> None:
    assert {outcome.value for outcome in Outcome} == {
        "complete",
        "failed",
        "client_gone",
        "refused",
        "interrupted",
    }
