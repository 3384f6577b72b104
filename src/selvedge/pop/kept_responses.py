"""Answers of OpenAI's responses that this PoP keeps: gone on from, read again, and deleted.

What may be kept the story decides, and the store seals it (`ResponseStore`); here is what lies
between. The store is opened by the first who needs it: most PoPs are asked for chats alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import Owner, ResponseStore
from selvedge.cache import Scope
from selvedge.exchange import FleetView, kept_elsewhere, kept_in, unknown_reference
from selvedge.fabric import Refused, StoreFailed
from selvedge.pop.clock import now_us
from selvedge.pop.settings import Settings
from selvedge.wire import Form, items_of, previous_of, response_of

PATH: Final = "/v1/responses/"
LINKS_MAX: Final = 1_000
_ITEMS: Final = "/input_items"
_AWAY: Final = Refused("overloaded", "Kept answers cannot be reached now; retry.", None, 1000)
_encode: Final = msgspec.json.Encoder().encode


class KeptResponses:
    """One per process, on the event loop's thread."""

    def __init__(self, settings: Settings, lost: Callable[[], None]) -> None:
        self._bytes_max = settings.responses_bytes_max
        self._ttl_us = settings.responses_ttl_ms * 1000
        self._directory = Path(settings.state_dir) / "responses"
        self._lost = lost
        self._opened: ResponseStore | None = None
        if self.keeps and ResponseStore.is_at(self._directory):
            with contextlib.suppress(StoreFailed):  # told when it is asked for
                self._store()  # a look at all of it, which no request should wait for

    @property
    def keeps(self) -> bool:
        """Whether any is kept here at all."""
        return self._bytes_max > 0

    def close(self) -> None:
        """Let go of the store."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def keep(self, form: Form, scope: Scope) -> None:
        """Keep the answer that a form has just made, where it is to be kept. What cannot be is
        counted: its client has its answer all the same, and will find that it is not kept.
        """
        found = form.to_keep()
        if found is None:
            return
        try:
            kept = self._store().put(_owner(scope), *found, now_us())
        except StoreFailed:
            kept = False
        if not kept:
            self._lost()

    def resume(self, form: Form, scope: Scope, response_id: str, bytes_max: int) -> bytes | Refused:
        """The whole body of a request that goes on from this answer."""
        if not self.keeps:
            return unknown_reference(response_id)
        before: list[bytes] = []
        ids: list[str] = []
        size, at_us, next_id = 0, now_us(), response_id or None
        try:
            while next_id is not None:
                found = self._store().get(_owner(scope), next_id, at_us)
                if found is None:
                    return unknown_reference(next_id)
                size += len(found)
                if size > bytes_max or len(before) >= LINKS_MAX:
                    words = f"Answer {response_id!r} has more before it than body_bytes_max, "
                    words += f"{bytes_max} bytes, or {LINKS_MAX} answers; begin anew."
                    return Refused("request_too_large", words, param="previous_response_id")
                before.append(found)
                ids.append(next_id)
                next_id = previous_of(found)
            self._store().touch(_owner(scope), ids, at_us)
        except StoreFailed:
            return _AWAY
        return form.resume(before[::-1])

    def page(
        self, view: FleetView, authorization: str | None, method: str, path: str
    ) -> bytes | Refused:
        """The answer to ``GET`` or ``DELETE`` of a kept answer, or to ``GET`` of its items."""
        at_us = now_us()
        admitted = view.keyring.admit(authorization, at_us)
        if isinstance(admitted, Refused):
            return admitted
        here, zones = view.here.id, admitted.zones
        allowed = admitted.bars(PATH[:-1]) or view.rules.allowed(
            admitted.tenant, admitted.data_class, here, at_us, zones
        )
        if isinstance(allowed, Refused):
            return allowed
        response_id = path.removeprefix(PATH)
        asks_items = response_id.endswith(_ITEMS)
        response_id = response_id.removesuffix(_ITEMS)
        elsewhere = kept_elsewhere(view, admitted, response_id, at_us)
        if elsewhere is not None:
            return msgspec.structs.replace(elsewhere, param=None)
        scope = kept_in(view, admitted, allowed)
        if scope is None or not self.keeps:
            return _not_found(response_id)
        try:
            if method == "DELETE":
                there = self._store().delete(_owner(scope), response_id)
                return _deleted(response_id) if there else _not_found(response_id)
            found = self._store().get(_owner(scope), response_id, at_us)
        except StoreFailed:
            return _AWAY
        if found is None:
            return _not_found(response_id)
        return items_of(found) if asks_items else response_of(found)

    def _store(self) -> ResponseStore:
        if self._opened is None:
            self._opened = ResponseStore(self._directory, self._bytes_max, self._ttl_us)
        return self._opened


def allowed_methods(path: str) -> tuple[str, ...]:
    """What may be done with a path under `PATH`."""
    return ("GET",) if path.endswith(_ITEMS) else ("GET", "DELETE")


def _owner(scope: Scope) -> Owner:
    return (scope.tenant, scope.data_class, scope.zone)


def _deleted(response_id: str) -> bytes:
    return _encode({"id": response_id, "object": "response", "deleted": True})


def _not_found(response_id: str) -> Refused:
    words = unknown_reference(response_id).message
    return Refused("response_not_found", words)
