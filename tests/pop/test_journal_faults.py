"""A journal that cannot be written: nothing leaves before the intent, nothing ends without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.fabric import Outcome
from tests.support import Script, run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.script import Answer
from tests.support.wires import chat, error_of

ENTRY = pytest.mark.parametrize("entry", ["sin", "cgk"])
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
FAULT = pytest.mark.parametrize("fault", ["lost", "kept"])


@ENTRY
@STREAM
@FAULT
def test_without_an_intent_nothing_leaves(
    fault: str, stream: bool, entry: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            pop = fabric.pop(entry)
            pop.journal.faults["I"] = fault
            response = await wire.ask(bearer("free"), chat(stream=stream))
            assert (response.status, response.error["code"]) == (503, "receipt_unwritable")
            assert response.headers["retry-after-ms"] == "1000"
            assert response.headers["x-should-retry"] == "true"
            assert fabric.engines["sin"].connections == []
            assert fabric.untouched("fra")
            assert entry == "sin" or fabric.untouched("sin")

    run(main())


@ENTRY
def test_a_lost_intent_has_its_receipt(entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            pop = fabric.pop(entry)
            pop.journal.faults["I"] = "lost"
            await wire.ask(bearer("free"), chat())
            (receipt,) = pop.receipts()
            assert (receipt.outcome, receipt.code) == (Outcome.FAILED, "receipt_unwritable")
            assert b"selvedge_receipt_writes_failed_total 1.0" in pop.state.metrics.render()
            pop.journal.faults.clear()
            assert (await wire.ask(bearer("free"), chat())).status == 200
            assert [one.seq for one in pop.receipts()] == [1, 2]
            assert pop.state.book.open_intents == 0

    run(main())


@ENTRY
def test_a_journal_that_is_broken_serves_nobody(entry: str, tmp_path: Path) -> None:
    """An intent that failed and is there all the same: what follows it could not be trusted."""

    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            pop = fabric.pop(entry)
            pop.journal.faults["I"] = "kept"
            for _ in range(2):
                response = await wire.ask(bearer("free"), chat())
                assert (response.status, response.error["code"]) == (503, "receipt_unwritable")
                pop.journal.faults.clear()
            assert (await wire.get("/v1/models", bearer("free"))).status == 200
            assert pop.receipts() == []
            assert fabric.engines["sin"].connections == []

    run(main())


@ENTRY
@FAULT
def test_without_a_receipt_a_json_answer_is_not_given(
    fault: str, entry: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            pop = fabric.pop(entry)
            pop.journal.faults["R"] = fault
            response = await wire.ask(bearer("asean"), chat())
            assert (response.status, response.error["code"]) == (503, "receipt_unwritable")
            assert b"Hello" not in response.body
            assert "selvedge-receipt" not in response.headers
            assert pop.state.book.open_intents == 1
            pop.journal.faults.clear()
            again = 200 if fault == "lost" else 503
            assert (await wire.ask(bearer("asean"), chat())).status == again

    run(main())


@ENTRY
@FAULT
def test_without_a_receipt_a_stream_has_no_end(fault: str, entry: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire(entry) as wire:
            pop = fabric.pop(entry)
            pop.journal.faults["R"] = fault
            response = await wire.ask(bearer("asean"), chat(stream=True))
            assert response.status == 200
            assert not response.whole
            assert b"Hello" in response.body
            assert b"[DONE]" not in response.body
            assert pop.state.book.open_intents == 1

    run(main())


@pytest.mark.parametrize("body", [b"{", chat(model="nope")], ids=["json", "model"])
def test_a_refusal_without_a_receipt(body: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            fabric.pop("sin").journal.faults["R"] = "lost"
            response = await wire.ask(bearer("asean"), body)
            assert (response.status, response.error["code"]) == (503, "receipt_unwritable")
            assert "selvedge-receipt" not in response.headers

    run(main())


@FAULT
def test_a_json_answer_that_cannot_be_attested_moves_on(fault: str, tmp_path: Path) -> None:
    async def main() -> None:
        fra = Script(Answer(("from Frankfurt",)))
        async with rig(tmp_path, fra=fra) as fabric, fabric.wire("cgk") as wire:
            fabric.pop("sin").journal.faults["A"] = fault
            response = await wire.ask(bearer("free"), chat())
            (receipt,) = fabric.pop("cgk").receipts()
        assert response.json["choices"][0]["message"]["content"] == "from Frankfurt"
        assert [one.outcome for one in receipt.attempts] == ["failed", "relayed"]
        assert receipt.attempts[0].reason == "receipt_unwritable"

    run(main())


def test_a_stream_that_cannot_be_attested_breaks_in_band(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("cgk") as wire:
            fabric.pop("sin").journal.faults["A"] = "lost"
            response = await wire.ask(bearer("asean"), chat(stream=True))
            (receipt,) = fabric.pop("cgk").receipts()
        assert error_of(response.events[-1])["code"] == "receipt_unwritable"
        assert b"[DONE]" not in response.body
        assert (receipt.outcome, receipt.attested) == (Outcome.FAILED, None)

    run(main())


def test_a_tally_that_cannot_be_written_is_counted_in_metrics(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as fabric, fabric.wire("sin") as wire:
            response = await wire.ask(None, chat())
            assert response.status == 401
            text = fabric.pop("sin").state.metrics.render().decode()
            assert 'selvedge_refusals_without_receipt_total{code="missing_api_key"} 1.0' in text
            assert fabric.pop("sin").tallied() == {"missing_api_key": 1}

    run(main())
