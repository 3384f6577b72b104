"""A report signed, opened, checked and drawn; whatever was changed in it is refused or named."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selvedge.adapters import hash_of, operator_public_key, signature_of
from selvedge.fabric import StoreCorrupt
from selvedge.plan import (
    Named,
    ResidencyReport,
    check_report,
    draw_report,
    open_report,
    read_report,
    sign_report,
    write_report,
)
from selvedge.plan.signed_reports import REPORT_DOMAIN
from selvedge.tlog import Bundle, BundleKeys, write_bundle
from tests.support.residency import Month

pytest.importorskip("duckdb")
KEY = bytes(range(32))
PUBLIC = operator_public_key(KEY)
OTHER = bytes(reversed(range(32)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ResidencyReport:
    month = Month(tmp_path_factory.mktemp("month") / "home")
    month.serve("2026-11-03", 9)
    month.serve("2026-11-04", 5, "cgk")
    month.collect()
    return month.report()


def test_a_signed_report_is_opened_by_its_key(report: ResidencyReport) -> None:
    data = sign_report(report, KEY, PUBLIC)
    found, signed = open_report(data, PUBLIC)
    assert found == report
    assert open_report(data)[1] == signed
    assert data == sign_report(report, KEY, PUBLIC)
    assert read_report(write_report(report)) == report


def change(data: bytes, **facts: Any) -> bytes:  # Any: of the envelope
    envelope = msgspec.json.decode(data)
    return msgspec.json.encode(envelope | facts, order="sorted")


def test_what_was_changed_is_refused(report: ResidencyReport) -> None:
    data = sign_report(report, KEY, PUBLIC)
    with pytest.raises(StoreCorrupt, match=r"is signed by key .*, not by"):
        open_report(data, operator_public_key(OTHER))
    other = operator_public_key(OTHER)
    for facts, words in (
        ({"key": other}, "its signature is not that of key"),
        ({"key": "x"}, "its signature is not that of key"),
        ({"signature": "AAAA"}, "its signature is not that of key"),
        ({"hash": "sha256:" + "0" * 64}, "its hash is not that of the report in it"),
        ({"v": 2}, "its envelope has version 2"),
        ({"more": 1}, "it is no signed report"),
    ):
        with pytest.raises(StoreCorrupt, match=words):
            open_report(change(data, **facts))
    with pytest.raises(StoreCorrupt, match="its signature is not that of key"):
        open_report(data.replace(b'"tenant":"acme"', b'"tenant":"acmx"', 1))
    with pytest.raises(StoreCorrupt, match="it is no signed report"):
        open_report(b"\xff")


def test_a_thousand_flipped_bits_are_all_refused(report: ResidencyReport) -> None:
    data = sign_report(report, KEY, PUBLIC)
    step = max(1, len(data) * 8 // 1_000)
    for bit in range(0, (len(data) - 1) * 8, step):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StoreCorrupt):
            open_report(bytes(flipped), PUBLIC)


def test_a_report_that_is_none_is_refused(report: ResidencyReport) -> None:
    for body in (b"{}", b'{"v":2}', write_report(msgspec.structs.replace(report, v=2))):
        envelope = {
            "report": msgspec.Raw(body),
            "hash": hash_of(body),
            "key": PUBLIC,
            "signature": signature_of(REPORT_DOMAIN, body, KEY),
            "v": 1,
        }
        with pytest.raises(StoreCorrupt, match=r"no residency report|has version 2"):
            open_report(msgspec.json.encode(envelope))
    body = write_report(report) + b" "
    loose = {
        "report": msgspec.Raw(body),
        "hash": hash_of(body),
        "key": PUBLIC,
        "signature": signature_of(REPORT_DOMAIN, body, KEY),
        "v": 1,
    }
    data = msgspec.json.encode(loose)
    with pytest.raises(StoreCorrupt):
        open_report(data)


def replaced(report: ResidencyReport, **facts: Any) -> ResidencyReport:  # Any: fields
    return msgspec.structs.replace(report, **facts)


def test_tables_that_do_not_add_up_are_named(report: ResidencyReport) -> None:
    assert check_report(report) == []
    whole = report.completeness
    for facts, words in (
        ({"receipts": 15}, "outcomes come to 14, the report counts 15 receipts"),
        ({"outcomes": {"complete": 13}}, "outcomes come to 13"),
        ({"purposes": {}}, "purposes come to 0"),
        ({"places": report.places[1:]}, "places and unprocessed come to 9"),
        ({"rules": ()}, "rules come to 0"),
        ({"ingress": ()}, "ingress come to 0"),
        ({"releases": ()}, "releases come to 0"),
        ({"until": report.since}, "its days are reversed"),
        (
            {"completeness": msgspec.structs.replace(whole, folded=13)},
            "folded are 13 of 14, and no difference is named",
        ),
        (
            {"completeness": msgspec.structs.replace(whole, streams=whole.streams[1:])},
            "streams come to 9",
        ),
    ):
        found = check_report(replaced(report, **facts))
        assert any(one.startswith(words) for one in found), found


def test_a_sample_that_was_chosen_is_named(report: ResidencyReport) -> None:
    sample = report.sample
    assert sample is not None
    swapped = msgspec.structs.replace(sample, seed="seed:another")
    found = check_report(replaced(report, sample=swapped))
    assert found == ["the sample is not what seed 'seed:another' draws"]
    fewer = msgspec.structs.replace(sample, drawn=sample.drawn[1:])
    assert check_report(replaced(report, sample=fewer)) == [
        f"the sample is not what seed {sample.seed!r} draws"
    ]
    one, two = sample.drawn[:2]
    for changed, words in (
        (msgspec.structs.replace(one, salt=two.salt[::-1]), "cannot be read"),
        (msgspec.structs.replace(one, leaf=two.leaf), "its leaf is not that of its bytes"),
        (
            msgspec.structs.replace(one, receipt=two.receipt, leaf=two.leaf),
            "is the receipt of another number or tenant",
        ),
    ):
        drawn = (changed, *sample.drawn[1:])
        lying = msgspec.structs.replace(sample, drawn=drawn)
        found = check_report(replaced(report, sample=lying))
        assert any(words in text for text in found), found


def test_a_page_says_what_the_report_says(report: ResidencyReport, tmp_path: Path) -> None:
    pytest.importorskip("reportlab")
    named = (Named("zone", "PoP sin, worker 0, number 1", "processed in DE, outside <it> & Łódź"),)
    found = replaced(report, exceptions={"zone": 1}, exceptions_named=named)
    _, signed = open_report(sign_report(found, KEY, PUBLIC))
    data = draw_report(found, signed, "Nord")
    assert data == draw_report(found, signed, "Nord")
    assert data != draw_report(report, signed, "Nord")
    assert re.search(rb"/CreationDate \(D:20000101000000", data)
    tool = shutil.which("pdftotext")
    if tool is None:
        return
    path = tmp_path / "report.pdf"
    path.write_bytes(data)
    shown = subprocess.run(
        [tool, "-layout", str(path), "-"], check=True, capture_output=True, text=True
    ).stdout
    for words in (
        "Residency report",
        "acme, fleet example",
        "2026-11-01 to before 2026-12-01, UTC",
        signed.hash,
        "ID 5, SG 9",
        "processed in DE, outside <it> & ?ód?",
        "acme/standard",
        "seed:of a test",
        "It is not legal advice",
    ):
        assert words in shown, words


def test_numbers_that_stand_for_others_are_named(report: ResidencyReport) -> None:
    """A receipt was left out, and another one counted twice in its place."""
    whole = report.completeness
    first, *others = whole.streams
    ((low, high), *_) = first.runs
    for runs in (((low, high - 1), (low, low)), ((low, high - 1), (high - 1, high - 1))):
        streams = (msgspec.structs.replace(first, runs=runs), *others)
        found = check_report(
            replaced(report, completeness=msgspec.structs.replace(whole, streams=streams))
        )
        assert any("are not behind the last" in one for one in found), found
    streams = (first, first, *others[1:])
    twice = msgspec.structs.replace(whole, streams=streams)
    assert "streams name a journal twice" in check_report(replaced(report, completeness=twice))


def test_a_report_of_more_numbers_than_receipts_is_not_drawn_again(
    report: ResidencyReport,
) -> None:
    whole = report.completeness
    (first, *others) = whole.streams
    streams = (msgspec.structs.replace(first, runs=((1, 2**62),)), *others)
    endless = msgspec.structs.replace(whole, streams=streams)
    found = check_report(replaced(report, completeness=endless))
    assert "the sample is not drawn again: its numbers are not those of the receipts" in found


def test_a_proof_of_another_receipt_is_named(report: ResidencyReport) -> None:
    assert report.sample is not None
    one = report.sample.drawn[0]
    keys = BundleKeys((), (), (), ())
    for receipt, words in ((b'{"id":"x"}', "of another receipt"), (bytes(one.receipt), None)):
        bundle = Bundle("-", keys, None, "-", msgspec.Raw(receipt), one.salt)
        proof = msgspec.Raw(write_bundle(bundle).rstrip())
        drawn = (msgspec.structs.replace(one, proof=proof), *report.sample.drawn[1:])
        sample = msgspec.structs.replace(report.sample, drawn=drawn)
        found = check_report(replaced(report, sample=sample))
        assert [words in text for text in found] == [True] if words else found == []
