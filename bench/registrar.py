"""An administrator who never tires: makes, changes, rotates and revokes keys while all is killed.

Each act and its answer go into the `Register`. Asks on a keep-alive connection, waits for the API
on an event, and goes on after every death of the control process.
"""

from __future__ import annotations

import asyncio
import time
from random import Random

from bench.control_plane import ControlPlane, json_of
from bench.line import Heard, Line, open_line
from bench.register import Done, HeldKey, Register, Row

KINDS = {"create": 10, "revoke": 6, "rotate": 2, "limit": 5, "project": 1}
PAUSE_S = 0.05
ASK_S_MAX = 20.0
PROJECTS = 5


class Registrar:
    """One of them. ``up`` is set while the API is to be asked, ``sent`` with every act."""

    def __init__(
        self,
        plane: ControlPlane,
        tenants: list[str],
        register: Register,
        rng: Random,
        events: tuple[asyncio.Event, asyncio.Event],
    ) -> None:
        self._plane = plane
        self._tenants = tenants
        self._register = register
        self._rng = rng
        self._up, self._sent = events
        self._line: Line | None = None
        self._number = 0
        self._name = f"{rng.randrange(16**6):06x}"
        self.stopping = False
        self.pause_s = PAUSE_S

    async def run(self) -> None:
        """Act until ``stopping``."""
        while True:
            await self._up.wait()
            if self.stopping:
                break
            try:
                await self._act()
            except OSError:
                await asyncio.sleep(0.01)  # it died a moment ago
            await asyncio.sleep(self._rng.uniform(0, self.pause_s))
        if self._line is not None:
            self._line.close()

    async def _act(self) -> None:
        kind = self._rng.choices(list(KINDS), list(KINDS.values()))[0]
        living = self._register.living()
        if kind in ("revoke", "rotate", "limit") and not living:
            kind = "create"
        if kind == "create":
            await self._create()
        elif kind == "project":
            await self._project()
        else:
            await getattr(self, f"_{kind}")(self._rng.choice(living))

    async def _create(self) -> None:
        held = self._new_key()
        body = {"id": held.id, "tenant": self._rng.choice(self._tenants), "class": "standard"}
        row = await self._ask("create", held.id, "POST", "/keys", body)
        if row is not None:
            held.secret, held.made_s = row["secret"], time.monotonic()

    async def _rotate(self, held: HeldKey) -> None:
        heir = self._new_key()
        body = {"id": heir.id, "overlap_s": 86_400}
        row = await self._ask("rotate", heir.id, "POST", f"/keys/{held.id}/rotate", body)
        if row is not None:
            heir.secret, heir.made_s = row["secret"], time.monotonic()

    async def _revoke(self, held: HeldKey) -> None:
        held.revoke_sent = True
        row = await self._ask("revoke", held.id, "DELETE", f"/keys/{held.id}")
        if row is not None:
            held.revoked_s = time.monotonic()

    async def _limit(self, held: HeldKey) -> None:
        body = {"limits": {"requests_per_minute": self._rng.randrange(10**6, 10**9)}}
        await self._ask("limit", held.id, "PATCH", f"/keys/{held.id}", body)

    async def _project(self) -> None:
        what = f"{self._rng.choice(self._tenants)}/projects/p{self._rng.randrange(PROJECTS)}"
        body = {"limits": {"requests_per_minute": self._rng.randrange(10**6, 10**9)}}
        await self._ask("project", what, "PUT", f"/tenants/{what}", body)

    def _new_key(self) -> HeldKey:
        self._number += 1
        held = HeldKey(f"made-{self._name}-{self._number}")
        self._register.keys[held.id] = held
        return held

    async def _ask(self, kind: str, what: str, method: str, path: str, *body: object) -> Row | None:
        """The row of an act that was acknowledged; None where it was not."""
        register = self._register
        register.sent += 1
        heard = await self._send(self._plane.request(method, path, *body))
        if heard is None or not heard.whole:
            register.unanswered += 1
            return None
        if heard.status == 503:
            register.away += 1
            return None
        row = json_of(heard)
        assert isinstance(row, dict)
        if heard.status not in (200, 201):
            # Two may rotate or revoke one key at once: who comes second is told so.
            if heard.status != 409:
                register.refused.append(f"{kind} {what}: {heard.status} {row}")
            return None
        shown = row.get("key", row)
        request_id = heard.header("x-request-id") or ""
        register.done.append(Done(kind, what, request_id, shown))
        return row

    async def _send(self, request: bytes) -> Heard | None:
        line = self._line
        try:
            if line is None or not line.is_open:
                line = self._line = await open_line(self._plane.port)
            self._sent.set()
            started = time.monotonic()
            async with asyncio.timeout(ASK_S_MAX):
                heard = await line.ask(request)
            self._register.took_ms.append((time.monotonic() - started) * 1000)
            return heard
        except TimeoutError:
            self._register.refused.append("an act was not answered in time")
            if line is not None:
                line.close()
            return None
