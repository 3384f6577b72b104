"""A secret in the prompts of a bound tenant, on a fabric of real processes, through every fault.

Singapore and Jakarta may see it, Frankfurt, the collectors and the control process may not. Every
cable is tapped and every file read: where the secret may be it is found, elsewhere it is nowhere.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import resource
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import Outcome
from tests.support import Answer, Cut, Drop, Gate, Reply, Reset, Status, run
from tests.support.captured import ENGINES, POPS, Captured, captured
from tests.support.taps import forms_of, found_in
from tests.support.wires import BROKEN, Response, Wire, chat, post

SECRET = f"kenari{uuid.UUID(int=0x7F3AE5B1C29D).hex[-12:]}"
FORMS = forms_of(SECRET)
PROMPT = f'Say "{SECRET}", é, and nothing else. ' + f"Filler before {SECRET}. " * 60
SAYS = (SECRET[:5], SECRET[5:], " ", SECRET)
KEYS = ("bound", "zero", "ruled")
ALLOWED = {
    "client->cgk there",
    "client->cgk back",
    "client->sin there",
    "client->sin back",
    "client->fra there",  # a client that errs; what Frankfurt makes of it is the question
    "cgk->sin there",
    "cgk->sin back",
    "sin->sin-a there",
    "sin->sin-a back",
    "sin->sin-b there",
    "sin->sin-b back",
}
MORE = f"x-client-request-id: {SECRET}\r\nuser-agent: {SECRET}\r\nopenai-project: {SECRET}\r\n"
FAULTS: dict[str, Reply] = {
    "broken before the first token": Answer(SAYS, cut=Cut("error", message=SECRET)),
    "broken after it": Answer(SAYS, cut=Cut("reset", after=2)),
    "an error in the stream": Answer(SAYS, cut=Cut("error", after=2, message=SECRET)),
    "dropped": Drop(),
    "reset": Reset(),
    "500 that quotes": Status(500, SECRET),
    "404 that quotes": Status(404, SECRET, shape="text"),
    "400 that quotes": Status(400, f"cannot parse {SECRET}"),
}
BAD = {
    "half": chat(SECRET)[:-5],
    "a bare word": SECRET.encode(),
    "not utf-8": chat(SECRET)[:-3] + b"\xff" + SECRET.encode(),
    "a key twice": chat(SECRET)[:-1] + f',"model":"{SECRET}"}}'.encode(),
    "of the wrong type": chat(model=[SECRET]),
    "a role of its own": chat(messages=[{"role": SECRET}]),
    "no model of ours": chat(SECRET, model=SECRET),
    "too large": chat(SECRET * 20_000),
}


@dataclass
class Course:
    """What the run did, to be asserted when all is read."""

    fabric: Captured
    statuses: list[tuple[str, int]] = field(default_factory=list)
    pages: bytes = b""
    metrics: bytes = b""

    async def ask(
        self, pop: str, key: str | None, body: bytes, what: str, more: str = MORE
    ) -> Response:
        """One request, whose status is kept."""
        answer = await self.fabric.ask(pop, key, body, more)
        self.statuses.append((what, answer.status))
        return answer

    async def look(self) -> None:
        """Keep what every PoP that runs says of itself."""
        for pop in POPS:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                for path in ("/metrics", "/health", "/readyz", "/v1/models", "/openapi.json"):
                    page = await self.fabric.page(pop, path)
                    self.pages += page
                    self.metrics += page if path == "/metrics" else b""


def body(stream: bool) -> bytes:
    """A long prompt with the secret in every field that takes words."""
    return chat(
        PROMPT,
        stream=stream,
        user=f"{SECRET}@example.net",
        metadata={SECRET: SECRET},
        prompt_cache_key=SECRET,
    )


def say(fabric: Captured, *replies: Reply) -> None:
    """What Singapore's engines answer from now on."""
    for name, pop in ENGINES.items():
        if pop == "sin":
            fabric.engines[name].script.replies = list(replies)


async def ordinary(course: Course) -> None:
    """Answers, streamed or not, under each key, and again under their Idempotency-Key."""
    say(course.fabric, Answer(SAYS))
    for entry in ("cgk", "sin"):
        for key in KEYS:
            for stream in (False, True):
                more = f"{MORE}idempotency-key: {entry}-{key}-{stream}-{SECRET}\r\n"
                for _ in range(2):
                    await course.ask(entry, key, body(stream), "ordinary", more)
    assert {status for _, status in course.statuses} == {200, 409}
    for entry in POPS:  # With a limit, of which the control process grants a share.
        for _ in range(3):
            answer = await course.ask(entry, "limited", body(False), "limited")
            assert answer.status in ((429, 451) if entry == "fra" else (200, 429))


async def faults(course: Course) -> None:
    """Engines that fail in every way; whoever else may is asked, and nobody besides."""
    for what, reply in FAULTS.items():
        say(course.fabric, reply)
        for key in KEYS:
            for stream in (False, True):
                answer = await course.ask("cgk", key, body(stream), what)
                assert answer.status in (200, 400, 502, 503), what
    say(course.fabric, Answer(SAYS))


async def refusals(course: Course) -> None:
    """Bodies that are none, at every door; and a bound tenant at the wrong one."""
    for pop in POPS:
        for what, bad in BAD.items():
            for key in ("bound", None):
                answer = await course.ask(pop, key, bad, what)
                assert answer.status in (400, 401, 404, 413, 451), (pop, what)
                if pop == "fra":
                    assert not found_in(answer.body, FORMS)
        for key in KEYS:
            answer = await course.ask(pop, key, body(False), "at the door")
            assert (answer.status == 451) is (pop == "fra")


async def hang_ups(course: Course) -> None:
    """Clients that leave in the midst of their body, and of their answer."""
    fabric = course.fabric
    for entry in ("cgk", "sin", "fra"):
        async with Wire.to(fabric.doors[entry]) as wire:
            half = body(True)[:900]
            wire.send(post(fabric.bearer("bound"), half, more=MORE, length=5000))
            wire.hang_up(reset=entry == "sin")
    say(fabric, Answer(SAYS, gate=Gate(2)))
    for entry in ("cgk", "sin"):
        async with Wire.to(fabric.doors[entry]) as wire:
            wire.send(post(fabric.bearer("bound"), body(True), more=MORE))
            await wire.head()
            await wire.event()
            wire.hang_up()
    say(fabric, Answer(SAYS))


async def stricter(course: Course) -> None:
    """A serving PoP whose release forbids what the ingress's allows; then one that is none."""
    fabric = course.fabric
    zones = tuple(
        msgspec.structs.replace(one, countries=("ID",)) if one.id == "asean" else one
        for one in fabric.release.zones
    )
    version = fabric.release.version + 1
    fabric.lay("sin", msgspec.structs.replace(fabric.release, version=version, zones=zones))
    await fabric.until_released("sin", version)
    for key in ("bound", "zero"):
        answer = await course.ask("cgk", key, body(False), "a stricter peer")
        assert answer.status == 503
    fabric.inbox("sin").write_bytes(f'{{"release": "{SECRET}"}}'.encode())
    answer = await course.ask("cgk", "ruled", body(True), "beside a release that is none")
    assert answer.status == 200
    fabric.lay("sin", msgspec.structs.replace(fabric.release, version=version + 1))
    await fabric.until_released("sin", version + 1)
    fabric.inbox("sin").unlink()  # that words of ours are not found in files


async def away(course: Course) -> None:
    """Collectors and control process out of reach; then back."""
    fabric = course.fabric
    cables = [tap for name, tap in fabric.taps.laid.items() if name.startswith("pops->")]
    for tap in cables:
        tap.cut()
    for entry in ("cgk", "sin"):
        assert (await course.ask(entry, "bound", body(True), "alone")).status == 200
    for tap in cables:
        tap.cut(is_cut=False)


async def full_disk(course: Course) -> None:
    """Jakarta cannot write: nothing is let in, and nothing leaves."""
    fabric = course.fabric
    pid = fabric.processes["cgk"].pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        sent = len(fabric.taps["cgk->sin"].there)
        answer = await course.ask("cgk", "bound", body(False), "full disk", "")
        assert (answer.status, answer.error["code"]) == (503, "receipt_unwritable")
        assert not found_in(bytes(fabric.taps["cgk->sin"].there[sent:]), FORMS)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def killed(course: Course) -> None:
    """Stacks on demand, then SIGKILL in the midst of an answer; the PoP comes back and settles."""
    fabric = course.fabric
    say(fabric, Answer(SAYS, gate=Gate(2)))
    async with Wire.to(fabric.doors["cgk"]) as wire:
        wire.send(post(fabric.bearer("bound"), body(True), more=MORE))
        await wire.head()
        await wire.event()
        for pop in POPS:
            fabric.processes[pop].send_signal(signal.SIGUSR2)
        await course.look()
        fabric.kill("sin")
        await fabric.processes["sin"].wait()
        rest, whole = await wire.rest()
        assert not whole or b"error" in rest
    say(fabric, Answer(SAYS))
    for key in KEYS:
        for stream in (False, True):
            answer = await course.ask("cgk", key, body(stream), "every allowed PoP is dead")
            assert (answer.status, answer.error["code"]) == (503, "no_engine_available")
    await fabric.start("sin")


async def aborted(course: Course) -> None:
    """SIGABRT in the midst of an answer: no image of memory is left."""
    fabric = course.fabric
    gate = Gate(2)
    say(fabric, Answer(SAYS, gate=gate))
    process = fabric.processes["cgk"]
    assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)
    async with Wire.to(fabric.doors["cgk"]) as wire:
        wire.send(post(fabric.bearer("bound"), body(True), more=MORE))
        await wire.head()
        await wire.event()
        process.send_signal(signal.SIGABRT)
        await process.wait()
        with contextlib.suppress(*BROKEN):
            await wire.rest()
    gate.open()
    say(fabric, Answer(SAYS))
    await fabric.start("cgk")
    assert any(one.outcome is Outcome.INTERRUPTED for one in fabric.receipts("cgk"))


def files_of(directory: Path) -> Iterator[Path]:
    """Every file that any process left."""
    return (one for one in directory.rglob("*") if one.is_file() and not one.is_symlink())


def check(course: Course, directory: Path) -> None:
    """Nowhere but where it may be; and there it is."""
    fabric = course.fabric
    holding = fabric.taps.holding(FORMS)
    outside = {name: forms for name, forms in holding.items() if name not in ALLOWED}
    assert not outside, outside
    assert set(holding) == ALLOWED, "the taps see it wherever it may be"
    seen = 0
    for path in files_of(directory):
        seen += 1
        assert not found_in(path.read_bytes(), FORMS), path
        assert not path.name.startswith("core"), path
    assert seen > 20
    for pop in POPS:
        assert b"most recent call first" in fabric.log(pop).read_bytes(), "its stacks, on demand"
    assert b"selvedge_requests_total" in course.metrics
    for name in (b"asean", *(key.encode() for key in KEYS)):
        assert name not in course.metrics
    assert not found_in(course.pages, FORMS)
    # Bound to ASEAN: nothing for Frankfurt but questions for its report, and no prompt at all.
    assert b"/v1/chat/completions" not in fabric.taps["cgk->fra"].there
    assert b"/v1/chat/completions" not in fabric.taps["sin->fra"].there
    assert not fabric.engines["fra-a"].requests
    for name in ("pops->control", "pops->collector-asean"):
        assert fabric.taps[name].there, name
    assert b"asean/bound" not in fabric.taps["pops->collector-world"].there


def test_a_secret_stays_where_it_may_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with captured(tmp_path) as fabric:
            course = Course(fabric)
            for phase in (
                ordinary,
                faults,
                refusals,
                hang_ups,
                stricter,
                away,
                full_disk,
                killed,
                aborted,
            ):
                await phase(course)
                await course.look()
            assert (await course.ask("fra", "free", chat("hi"), "another tenant", "")).status == 200
            fabric.engines["fra-a"].requests.clear()
            await fabric.until(lambda: shipped(fabric))
        check(course, tmp_path)

    run(main(), timeout_s=240)


async def shipped(fabric: Captured) -> bool:
    """Whether the collector of ASEAN has been sent receipts."""
    return b"asean/bound" in bytes(fabric.taps["pops->collector-asean"].there)


# The instruments.


@pytest.mark.parametrize(
    "told",
    [
        SECRET,
        json.dumps({"a": SECRET}),
        "".join(f"\\u{ord(one):04x}" for one in SECRET),
        SECRET.encode().hex(),
        SECRET[:-4],
        SECRET[6:],
    ],
)
def test_every_form_is_seen(told: str) -> None:
    assert found_in(f"before {told} after".encode(), FORMS)


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", '{"x":"'])
def test_base64_is_seen_at_any_offset(before: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert found_in(encode(f"{before}{SECRET} and more".encode()), FORMS)
        assert found_in(encode(f"{before}{SECRET}".encode()), FORMS)
