"""`Idempotency-Key` at the sockets: nobody is answered twice, and nobody billed twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import Outcome, Usage
from selvedge.ledger import settle, sums_of
from selvedge.pop.answered import Answered
from tests.support import Answer, Cut, Gate, Reply, Script, Status, run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import Response, Wire, chat, post

WORD = "8e03978e-40d5"
ANSWER = Answer(("from", " Singapore"))


async def ask(wire: Wire, body: bytes, *, key: str = "asean", word: str = WORD) -> Response:
    return await wire.ask(bearer(key), body, more=f"idempotency-key: {word}\r\n")


@pytest.mark.parametrize("entry", ["sin", "cgk"])
@pytest.mark.parametrize("profile", ["openai", "llama.cpp"])
def test_an_answer_is_given_again_and_billed_once(entry: str, profile: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER), profile=profile) as fabric:
            async with fabric.wire(entry) as wire:
                first = await ask(wire, chat())
                again = await ask(wire, chat(), word=f'"{WORD}"')
                other = await ask(wire, chat(), word="another")
            assert len(fabric.engines["sin"].requests) == 2
            one, two, three = fabric.pop(entry).receipts()
        assert (first.status, again.status, other.status) == (200, 200, 200)
        assert again.body == first.body
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["selvedge-repeats"] == first.headers["selvedge-receipt"] == one.id
        assert again.headers["selvedge-receipt"] == two.id != one.id
        for name in ("selvedge-served-by", "selvedge-processed-in"):
            assert again.headers[name] == first.headers[name]
        assert "idempotent-replayed" not in other.headers
        assert (two.repeats, two.outcome, two.status) == (one.id, Outcome.COMPLETE, 200)
        assert (two.attempts, two.usage, two.processed_in) == ((), None, None)
        assert settle(two).row == "replayed"
        assert sums_of([one, two]) == msgspec.structs.replace(sums_of([one]), receipts=2)
        assert three.repeats is None

    run(main())


def test_who_comes_while_the_first_runs_is_told_to_wait(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate(1)
        async with rig(tmp_path, sin=Script(Answer(("a", "b"), gate=gate))) as fabric:
            async with fabric.wire("sin") as wire, fabric.wire("sin") as other:
                wire.send(post(bearer("asean"), chat(), more=f"idempotency-key: {WORD}\r\n"))
                await fabric.engines["sin"].until(lambda: fabric.engines["sin"].requests)
                second = await ask(other, chat())
                wrong = await ask(other, chat(n=1))
                gate.open()
                assert (await wire.answer()).status == 200
                foreign = await ask(other, chat(), key="free")
                third = await ask(other, chat())
            assert len(fabric.engines["sin"].requests) == 2
            await fabric.pop("sin").until(lambda: len(fabric.pop("sin").receipts()) == 5)
            receipts = fabric.pop("sin").receipts()
        assert (second.status, second.error["code"]) == (409, "idempotency_in_progress")
        assert second.headers["x-should-retry"] == "true"
        assert (wrong.status, wrong.error["code"]) == (422, "idempotency_mismatch")
        assert wrong.headers["x-should-retry"] == "false"
        assert (foreign.status, third.status) == (200, 200)
        assert third.headers["idempotent-replayed"] == "true"
        rows = sorted(settle(one).row for one in receipts)
        assert rows == ["complete", "complete", "refused_caller", "refused_caller", "replayed"]

    run(main())


def test_a_finished_stream_names_its_receipt(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER)) as fabric:
            async with fabric.wire("sin") as wire:
                first = await ask(wire, chat(stream=True))
                again = await ask(wire, chat(stream=True))
            assert len(fabric.engines["sin"].requests) == 1
            one, two = fabric.pop("sin").receipts()
        assert first.status == 200
        assert (again.status, again.error["code"]) == (409, "idempotency_finished")
        assert one.id in again.error["message"]
        assert again.headers["x-should-retry"] == "false"
        assert (two.repeats, settle(two).billed) == (one.id, Usage())

    run(main())


FAILURES: dict[str, Reply] = {
    "engine": Status(500),
    "rejected": Status(400),
    "cut": Answer(("a", "b"), cut=Cut("reset", after=1)),
}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("how", FAILURES)
def test_what_failed_may_be_sent_again(how: str, stream: bool, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(FAILURES[how], ANSWER)) as fabric:
            async with fabric.wire("sin") as wire:
                await ask(wire, chat(stream=stream))
            async with fabric.wire("sin") as wire:
                again = await ask(wire, chat(stream=stream))
            one, two = fabric.pop("sin").receipts()
        assert again.status == 200
        assert one.outcome is not Outcome.COMPLETE
        assert (two.outcome, two.repeats) == (Outcome.COMPLETE, None)
        assert settle(one).billed == Usage()

    run(main())


def test_an_answer_is_not_kept_outside_its_zone(tmp_path: Path) -> None:
    """A request of the EEA that enters in Jakarta is answered, but nothing of it stays there."""

    async def main() -> None:
        async with rig(tmp_path, fra=Script(ANSWER)) as fabric:
            async with fabric.wire("cgk") as wire:
                first = await ask(wire, chat(), key="eea")
                again = await ask(wire, chat(), key="eea")
            answered = fabric.pop("cgk").state.answered
            assert isinstance(answered, Answered)
            assert answered.bytes == 0
        assert first.status == 200
        assert (again.status, again.error["code"]) == (409, "idempotency_finished")

    run(main())


def test_a_bad_key_is_a_bad_header(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER)) as fabric, fabric.wire("sin") as wire:
            answer = await ask(wire, chat(), word="k" * 256)
            assert not fabric.engines["sin"].requests
        assert (answer.status, answer.error["param"]) == (400, "idempotency-key")

    run(main())


def test_without_a_receipt_the_key_is_free(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path, sin=Script(ANSWER)) as fabric, fabric.wire("sin") as wire:
            fabric.pop("sin").journal.faults["R"] = "lost"
            broken = await ask(wire, chat())
            fabric.pop("sin").journal.faults.clear()
            answered = fabric.pop("sin").state.answered
            assert isinstance(answered, Answered)
            assert len(answered) == 0
        assert broken.status == 503

    run(main())
