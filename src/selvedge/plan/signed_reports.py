"""A residency report as a file: its exact bytes, their hash, and the operator's signature.

The envelope is that of releases: Ed25519 (RFC 8032) over a domain and the report's bytes, which any
tool can check. `docs/residency-report.md` says how.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from selvedge.adapters import hash_of, is_signed, signature_of
from selvedge.fabric import StoreCorrupt
from selvedge.plan.residency_report import ResidencyReport, read_report, write_report

REPORT_DOMAIN: Final = b"selvedge/residency-report/v1\n"
VERSION: Final = 1


class SignedReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope. ``key`` is the signer's public key, for whoever has no other way to it."""

    report: msgspec.Raw
    hash: str
    key: str
    signature: str
    v: int = VERSION


def sign_report(report: ResidencyReport, private: bytes, public: str) -> bytes:
    """The file of a signed report, canonical JSON."""
    body = write_report(report)
    signature = signature_of(REPORT_DOMAIN, body, private)
    signed = SignedReport(msgspec.Raw(body), hash_of(body), public, signature)
    return msgspec.json.encode(signed, order="sorted") + b"\n"


def open_report(data: bytes, public: str | None = None) -> tuple[ResidencyReport, SignedReport]:
    """A report whose signature holds by this key, or by the one in it. Raises `StoreCorrupt`."""
    try:
        signed = msgspec.json.decode(data, type=SignedReport)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"it is no signed report: {error}") from error
    if signed.v != VERSION:
        raise StoreCorrupt(f"its envelope has version {signed.v}, this program reads {VERSION}")
    if public is not None and signed.key != public:
        raise StoreCorrupt(f"it is signed by key {signed.key}, not by {public}")
    body = bytes(signed.report)
    if not _is_key(signed.key) or not is_signed(REPORT_DOMAIN, body, signed.signature, signed.key):
        raise StoreCorrupt(f"its signature is not that of key {signed.key!r}")
    if signed.hash != hash_of(body):
        raise StoreCorrupt("its hash is not that of the report in it")
    report = read_report(body)
    if write_report(report) != body:
        raise StoreCorrupt("its report is not in canonical form")
    return report, signed


def _is_key(written: str) -> bool:
    try:
        return len(base64.b64decode(written, validate=True)) == 32
    except ValueError:
        return False
