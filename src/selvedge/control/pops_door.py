"""The door of the PoPs: sealed messages in, sealed messages out. What they say is the desk's.

A handler answers messages by the group: what comes while one group is answered is the next, so that
a thousand PoPs wait for one write to the database and not for a thousand. It is asked by one thread
at a time. It answers for who asks: messages carry the MAC of a pair (proposal 0009).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from selvedge.control.admin_errors import AdminRefused
from selvedge.control.database import WAIT_MS
from selvedge.control.small_server import Answer
from selvedge.exchange import lease_messages
from selvedge.fabric import BadTicket, SelvedgeError

MESSAGE_BYTES_MAX: Final = lease_messages.MESSAGE_BYTES_MAX
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
GROUP_MAX: Final = 256
CONNECTIONS_MAX: Final = 65_536
"""A worker of a PoP keeps one."""
LEASES: Final = lease_messages.TARGET
SLACK_MS: Final = 500

PopHandler = Callable[[Sequence[bytes]], list[bytes | BadTicket]]

log: Final = logging.getLogger("selvedge.control")


class PopsDoor:
    """What `small_server` asks; a path nobody answers for is 503, for it may be somebody will.

    ``wait_ms`` is the longest wait for a handler, and for those before it.
    """

    def __init__(self, handlers: Mapping[str, PopHandler], wait_ms: int = WAIT_MS) -> None:
        wait_s = wait_ms / 1000
        self._groups = {path: _Groups(handler, wait_s) for path, handler in handlers.items()}

    async def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one message."""
        path = target.partition("?")[0]
        groups = self._groups.get(path)
        try:
            if groups is None and path != LEASES:
                raise AdminRefused("not_found", f"PoPs ask at {LEASES}")
            if method != "POST":
                raise AdminRefused("method_not_allowed", f"{path} takes POST alone")
            if groups is None:
                words = "nobody grants leases here"
                raise AdminRefused("store_unavailable", words, retry_after_s=5)
            return Answer(200, await groups.ask(body), "application/octet-stream")
        except AdminRefused as refused:
            return _refuse(refused)
        except BadTicket as error:
            return _refuse(AdminRefused("forbidden", str(error)))
        except SelvedgeError as error:
            return _refuse(AdminRefused("store_unavailable", str(error), retry_after_s=2))


class _Groups:
    """Messages for one handler: one group is answered, the next one gathers."""

    def __init__(self, handler: PopHandler, wait_s: float) -> None:
        self._handler = handler
        self._wait_s = wait_s
        self._waiting: list[tuple[bytes, asyncio.Future[bytes]]] = []
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def ask(self, body: bytes) -> bytes:
        """The answer to one message."""
        if len(body) > MESSAGE_BYTES_MAX:
            words = f"the message exceeds {MESSAGE_BYTES_MAX} bytes"
            raise AdminRefused("request_too_large", words)
        if self._bytes > WAITING_BYTES_MAX:
            words = f"more than {WAITING_BYTES_MAX} bytes of messages wait; ask again later"
            raise AdminRefused("store_unavailable", words, retry_after_s=2)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting.append((body, answer))
        self._bytes += len(body)
        if self._task is None:
            self._task = loop.create_task(self._run())
        try:
            async with asyncio.timeout(self._wait_s):
                return await answer
        except TimeoutError:
            log.error("a PoP was not answered: the database is slow")
            words = "the control plane's database is slow"
            raise AdminRefused("store_unavailable", words, retry_after_s=2) from None

    async def _run(self) -> None:
        try:
            while self._waiting:
                group = self._waiting[:GROUP_MAX]
                del self._waiting[:GROUP_MAX]
                self._bytes -= sum(len(body) for body, _ in group)
                await self._answer([one for one in group if not one[1].done()])
        finally:
            self._task = None

    async def _answer(self, group: list[tuple[bytes, asyncio.Future[bytes]]]) -> None:
        made: Sequence[bytes | Exception]
        try:
            made = await asyncio.to_thread(self._handler, [body for body, _ in group])
        except SelvedgeError as error:
            log.error("%d questions of PoPs were not answered: %s", len(group), error)
            made = [error] * len(group)
        except Exception as error:
            log.exception("a fault of ours: questions of PoPs")
            made = [error] * len(group)
        for (_, answer), one in zip(group, made, strict=True):
            if answer.done():
                continue
            if isinstance(one, bytes):
                answer.set_result(one)
            else:
                answer.set_exception(one)


def _refuse(refused: AdminRefused) -> Answer:
    headers = [("x-should-retry", "true" if refused.kind.retry else "false")]
    if refused.retry_after_s is not None:
        headers.append(("retry-after", str(refused.retry_after_s)))
    return Answer(refused.kind.status, refused.body, headers=tuple(headers))
