"""What a tenant's key may ask of the cache itself: report a wrong hit, purge, and what is kept.

Each works on the cache of this PoP alone, and on what is kept for the key's own tenant alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from selvedge.adapters import CacheDown, Purge, find_receipts, journal_of, journals_of
from selvedge.fabric import Refused, StoreFailed
from selvedge.pop.cache_way import Desk
from selvedge.pop.clock import now_us
from selvedge.pop.http_server import BodyTooLarge, ClientGone, Inbound
from selvedge.pop.sent_key import sent_key
from selvedge.pop.state import PopState
from selvedge.wire import ProtocolViolation

REPORT_PATH: Final = "/v1/cache/report"
PURGE_PATH: Final = "/v1/cache/purge"
STATS_PATH: Final = "/v1/cache/stats"
METHODS: Final = {REPORT_PATH: "POST", PURGE_PATH: "POST", STATS_PATH: "GET"}
BODY_BYTES_MAX: Final = 4096
_RECEIPT: Final = re.compile(r"rcpt_[0-9a-f]{32}")
_AWAY: Final = Refused(
    "cache_unavailable",
    "This PoP runs no cache: no class of its release has one; give it 'cache'.",
    retry_after_ms=1000,
)


class ReportBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A wrong hit: by its receipt, or by the entry that its answer named."""

    receipt: str | None = None
    entry: str | None = None


class PurgeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be found no more; one of them, and `model` or `tag` narrow nothing else."""

    entry: str | None = None
    tag: str | None = None
    model: str | None = None
    everything: bool = False


T = TypeVar("T")
Answered = bytes | Refused


async def answer_page(
    state: PopState, inbound: Inbound, path: str, send: Callable[[Answered], None]
) -> None:
    """Answer one of `METHODS`."""
    tenant = _tenant(state, inbound, path)
    if isinstance(tenant, Refused):
        send(tenant)
        return
    desk = state.cache.desk
    if desk is None:
        send(_AWAY)
        return
    if path == STATS_PATH:
        send(await _stats(desk, tenant))
        return
    try:
        body = await inbound.read_body(BODY_BYTES_MAX)
    except ClientGone:
        return
    except (BodyTooLarge, ProtocolViolation) as error:
        send(Refused("request_too_large", f"The body cannot be read: {error}."))
        return
    if path == REPORT_PATH:
        send(await _report(state, desk, tenant, body))
    else:
        send(await _purge(desk, tenant, body))


def _tenant(state: PopState, inbound: Inbound, path: str) -> str | Refused:
    """Whose cache it is. A key that is narrowed is not for all that its tenant keeps; what it was
    given itself it may report.
    """
    view = state.view
    if view is None:
        words = "This PoP has no valid release yet; retry."
        return Refused("not_ready", words, retry_after_ms=1000)
    sent = sent_key(inbound.head)
    admitted = view.keyring.admit(sent.decode("latin-1") if sent else None, now_us())
    if isinstance(admitted, Refused):
        state.tally(admitted.code)
        return admitted
    if path != REPORT_PATH and (admitted.routes or admitted.models or admitted.zones):
        words = f"API key {admitted.key!r} is for some routes, models or zones alone, and this is "
        state.tally("key_scope")
        return Refused("key_scope", words + "about all that its tenant keeps; use another key.")
    return admitted.tenant


async def _stats(desk: Desk, tenant: str) -> Answered:
    try:
        return await desk.stats(tenant)
    except StoreFailed as error:
        return _away(error)


async def _report(state: PopState, desk: Desk, tenant: str, body: bytes) -> Answered:
    asked = _read(body, ReportBody)
    if isinstance(asked, Refused):
        return asked
    if (asked.receipt is None) == (asked.entry is None):
        return _wrong("receipt", "Name 'receipt' or 'entry', one of them.")
    entry = asked.entry
    if asked.receipt is not None:
        if not _RECEIPT.fullmatch(asked.receipt):
            return _wrong("receipt", "A receipt's id is 'rcpt_' and 32 hex digits.")
        if state.cache.is_reading:
            words = "Another report is looked up in this PoP's receipts; retry, or name 'entry'."
            return Refused("overloaded", words, retry_after_ms=1000)
        state.cache.is_reading = True
        try:
            directory = Path(state.settings.state_dir)
            entry = await asyncio.to_thread(_entry_of, directory, asked.receipt, tenant)
        finally:
            state.cache.is_reading = False
        if entry is None:
            words = "This PoP has no receipt of a hit under this id for this tenant; name 'entry'."
            return _wrong("receipt", words)
    try:
        await desk.report_bad(tenant, entry or "", now_us())
    except CacheDown as error:
        return _away(error)
    except StoreFailed as error:
        return _wrong("entry", f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.")
    return msgspec.json.encode({"reported": entry})


def _entry_of(directory: Path, receipt_id: str, tenant: str) -> str | None:
    """The kept answer that a receipt of this PoP says was given; another tenant's says nothing."""
    began_s = int(receipt_id[5:17], 16) / 1000
    for number in journals_of(directory):
        receipts = journal_of(directory, number) / "receipts"
        found = find_receipts(receipts, (receipt_id,), began_s).get(receipt_id)
        if found is not None:
            return found.cache_entry if found.tenant == tenant else None
    return None


async def _purge(desk: Desk, tenant: str, body: bytes) -> Answered:
    asked = _read(body, PurgeBody)
    if isinstance(asked, Refused):
        return asked
    named = [one for one in (asked.entry, asked.tag, asked.model) if one is not None]
    if len(named) + asked.everything != 1:
        return _wrong("entry", "Name one of 'entry', 'tag' and 'model', or 'everything': true.")
    what = Purge(tenant=tenant, entry=asked.entry, tag=asked.tag, model=asked.model)
    try:
        await desk.purge(what, now_us())
    except StoreFailed as error:
        return _away(error)
    return msgspec.json.encode({"purged": asked})


def _read(body: bytes, form: type[T]) -> T | Refused:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        return Refused("invalid_value", f"The body does not hold: {error}.")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Refused("invalid_json", "The body is not JSON.")


def _wrong(param: str, words: str) -> Refused:
    return Refused("invalid_value", words, param=param)


def _away(error: Exception) -> Refused:
    words = f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}."
    return Refused("cache_unavailable", words, retry_after_ms=1000)
