"""What one asks of the cache process tells nobody else anything, and changes nothing for them."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from selvedge.cache import Scope
from tests.adapters.test_cache_process import ACME, OTHER, PARCEL, STATIC, rigged, run


def test_no_tenant_learns_by_time_what_another_asked(tmp_path: Path) -> None:
    """A text that one tenant's request had embedded is embedded anew for another's."""

    async def test() -> None:
        async with rigged(tmp_path) as rig:
            scopes = (ACME, Scope("other", "chat", "eu", "p1"))
            for scope in scopes:
                await rig.keep(OTHER, scope=scope)
            rig.embedder.calls.clear()
            for scope in scopes:
                await rig.recall(PARCEL, scope=scope)
                await rig.recall(PARCEL, scope=scope)
            assert rig.embedder.calls == [[PARCEL], [PARCEL]]

    run(test)


def test_a_threshold_that_one_request_asks_for_changes_no_others_audits(tmp_path: Path) -> None:
    async def test() -> None:
        async with rigged(tmp_path) as rig:
            await rig.keep(PARCEL)
            tag = rig.process.store.keys.tag(ACME)
            usual = rig.process.routes.of(tag, "small", STATIC)
            low = rig.process.routes.of(tag, "small", structs.replace(STATIC, threshold=0.0))
            for _ in range(200):
                low.take_audit(correct=False)
            assert low.audit.broken is not None
            assert usual.audit.broken is None
            await rig.process.turn()
            rig.process.routes._routes.clear()
            assert rig.process.routes.of(tag, "small", STATIC).audit.broken is None

    run(test)
