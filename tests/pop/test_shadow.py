"""The shadow check: bits that say what the policy says pass; where they do not, the rule stops."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from selvedge.exchange import FleetView
from selvedge.fabric import Release
from selvedge.pop.metrics import Metrics
from selvedge.pop.shadow import NEVER, STOPPED_DIRECTORY, Checker, Sample, ShadowCheck
from selvedge.residency import HORIZON_US, Rules
from tests.support import Answer, Script, run
from tests.support.fleets import NOW_US, RELEASE_HASH, bearer, make_release, make_view
from tests.support.policies import under_policy, with_bits
from tests.support.pops import Fabric, rig
from tests.support.wires import Response, chat, error_of

TEXT = """
permit(principal == Rule::"near", action, resource)
when { resource.groups.contains("ASEAN") && resource.reach.containsAny(["SG", "ID"]) };
permit(principal == Rule::"far", action, resource);
"""
CLASSES = {("asean", "default"): "near", ("free", "default"): "far"}
END = re.compile(r"^selvedge_residency_policy_end_timestamp_seconds (\S+)$", re.MULTILINE)
ALWAYS = {"residency_shadow_one_in": 1}


def policed(release: Release) -> Release:
    return under_policy(release, TEXT, CLASSES)


def broken(release: Release) -> Release:
    """Frankfurt may process what the policy keeps in ASEAN; the zone keeps it out still."""
    return with_bits(policed(release), "near", process="7")


def sample_of(release: Release, at_us: int = NOW_US) -> Sample:
    assert release.policy is not None
    rules = Rules(release)
    rule = rules.rule("asean", "default", at_us)
    assert rule is not None
    return Sample(RELEASE_HASH, release.policy, rules, rule, at_us, ("sin", "fra"))


def test_what_is_compiled_as_written_passes() -> None:
    checker = Checker()
    assert checker.check(sample_of(policed(make_release()))) is None
    after_us = NOW_US + HORIZON_US
    assert checker.check(sample_of(policed(make_release()), after_us)) is None


@pytest.mark.parametrize(
    ("act", "bits", "words"),
    [
        ("process", "7", "Cedar denies 'process' at 'fra'"),
        ("process", "4", "Cedar permits 'process' at 'sin'"),
        ("keys", "3", "Cedar denies 'keys' at 'fra'"),
        ("cache", "0", "Cedar permits 'cache' at 'sin'"),
    ],
)
def test_what_differs_is_named(act: str, bits: str, words: str) -> None:
    release = with_bits(policed(make_release()), "near", **{act: bits})
    found = Checker().check(sample_of(release))
    assert found is not None
    assert words in found


def test_a_rule_that_serves_more_than_its_row_is_named() -> None:
    good = sample_of(policed(make_release()))
    wide = msgspec.structs.replace(good.rule, cache=0b111)
    found = Checker().check(msgspec.structs.replace(good, rule=wide))
    assert found == "the rule as it serves allows more than its row"


def shadow_of(directory: Path, one_in: int = 1, queue_max: int = 2) -> ShadowCheck:
    return ShadowCheck(one_in, queue_max, Metrics("sin"), directory)


def test_one_in_so_many_is_asked(tmp_path: Path) -> None:
    assert shadow_of(tmp_path, 1_000).left == 1_000
    assert shadow_of(tmp_path, 0).left == NEVER


def test_the_queue_is_short_and_what_does_not_fit_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShadowCheck, "_start", lambda _: None)
    shadow = shadow_of(tmp_path)
    view = make_view("sin", policed(make_release()))
    shadow.serve(view)
    for _ in range(5):
        shadow.take(view, ("asean", "default"), "sin", NOW_US)
    shadow.take(view, ("eea", "transit"), "fra", NOW_US)  # under no policy
    shadow.take(view, ("nobody", "default"), "fra", NOW_US)
    assert shadow._samples.qsize() == 2


def test_a_policy_that_cannot_be_asked_is_a_fault_and_stops_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        metrics = Metrics("sin")
        shadow = ShadowCheck(1, 2, metrics, tmp_path)
        release = policed(make_release())
        view = make_view("sin", release)
        shadow.serve(view)
        shadow._fault("the policy cannot be asked: of another version")
        assert b"selvedge_internal_faults_total 1.0" in metrics.render()
        assert not view.rules.stopped

    run(main())


async def ask(fabric: Fabric, entry: str = "sin") -> Response:
    async with fabric.wire(entry) as wire:
        return await wire.ask(bearer("asean"), chat())


def count(fabric: Fabric, name: str, pop: str = "sin") -> int:
    metrics = fabric.pop(pop).state.metrics
    counter = metrics.shadow_checks if name == "shadow_checks" else metrics.shadow_mismatches
    return counter.labels().total()


class Ear:
    """Waits for what a PoP's shadow check says."""

    def __init__(self, fabric: Fabric, pop: str) -> None:
        self._shadow = fabric.pop(pop).state.shadow
        self._said: asyncio.Queue[str | None] = asyncio.Queue()
        self._act = self._shadow._heard
        self._shadow._heard = self._hear  # type: ignore[method-assign]

    def _hear(self, sample: Sample, found: str | None) -> None:
        self._act(sample, found)
        self._said.put_nowait(found)

    async def next(self) -> str | None:
        """What the next check found."""
        async with asyncio.timeout(30):
            return await self._said.get()


def named(release: Release, release_hash: str) -> FleetView:
    return msgspec.structs.replace(make_view("sin", release), release_hash=release_hash)


def test_a_live_pop_asks_again_and_finds_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        settings = {"sin": ALWAYS, "cgk": ALWAYS}
        async with rig(
            tmp_path,
            sin=Script(Answer(("hello",)), Answer(("hello",))),
            amend=lambda _, release: policed(release),
            settings=settings,
        ) as fabric:
            ears = {one: Ear(fabric, one) for one in ("sin", "cgk")}
            assert (await ask(fabric, "sin")).status == 200
            assert await ears["sin"].next() is None
            # One that Jakarta forwards is checked at both.
            assert (await ask(fabric, "cgk")).status == 200
            assert await ears["cgk"].next() is None
            assert await ears["sin"].next() is None
            assert count(fabric, "shadow_checks") == 2
            assert count(fabric, "shadow_mismatches") == 0
            shown = fabric.pop("sin").state.metrics.render().decode()
            (end,) = re.findall(END, shown)
            assert float(end) == (fabric.release.made_us + HORIZON_US) // 1_000_000
            assert not (tmp_path / "sin" / STOPPED_DIRECTORY).exists()

    run(main())


def test_a_rule_that_differs_stops_here_and_at_other_workers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with rig(
            tmp_path,
            sin=Script(*(Answer(("hello",)) for _ in range(8))),
            amend=lambda _, release: broken(release),
            settings={"sin": ALWAYS},
        ) as fabric:
            sin = fabric.pop("sin")
            view = sin.state.view
            assert view is not None
            ear, found = Ear(fabric, "sin"), None
            while found is None:  # Frankfurt comes up as the third site in its turn
                assert (await ask(fabric)).status == 200
                found = await ear.next()
            assert "'fra'" in found
            assert view.rules.stopped == {"near"}
            assert count(fabric, "shadow_mismatches") == 1
            refused = await ask(fabric)
            assert refused.status == 451
            assert error_of(refused.body)["code"] == "residency_no_allowed_pop"
            assert "ALARM" in caplog.text
            assert "(asean/default, policy " in caplog.text

            # What another worker of this PoP, or this one after a restart, does on its own.
            other = shadow_of(tmp_path / "sin")
            fresh = named(broken(make_release()), view.release_hash)
            other.serve(fresh)
            assert fresh.rules.stopped == {"near"}
            # Another release begins anew.
            newer = named(policed(make_release()), "ef" * 32)
            other.serve(newer)
            assert not newer.rules.stopped
            assert not list((tmp_path / "sin" / STOPPED_DIRECTORY).iterdir())

    run(main())
