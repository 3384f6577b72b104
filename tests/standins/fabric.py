"""A rig whose Singapore has a provider's engine, and perhaps another after it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from selvedge.fabric import Engine, Release, Served
from tests.standins.providers import Row
from tests.standins.server import StandIn
from tests.support.pops import Fabric, rig

KEY_ENV = "STAND_IN_KEY"


def engine_at(
    url: str, profile: str, *, name: str = "theirs", engine: str = "away", served: str = "chat"
) -> Engine:
    """An engine of a provider."""
    return Engine(
        engine,
        url,
        profile,
        (Served(served, name),),
        prefill_tokens_per_s=10**6,
        api_key_env=KEY_ENV,
    )


@contextlib.asynccontextmanager
async def provider_rig(
    directory: Path,
    provider: StandIn,
    row: Row,
    *,
    after: Callable[[Engine], Engine] | None = None,
    media: bool = False,
) -> AsyncIterator[Fabric]:
    """The rig. ``after`` makes the engine of Singapore's own one that is asked second, or none;
    ``media``: its chat model takes pictures.
    """

    def amend(_: str, release: Release) -> Release:
        away = engine_at(provider.url + row.path, row.profile, name=row.name)
        found = []
        for pop in release.pops:
            own = tuple(after(one) for one in pop.engines) if after is not None else ()
            engines = (away, *own) if pop.id == "sin" else ()
            found.append(msgspec.structs.replace(pop, engines=engines))
        models = tuple(
            msgspec.structs.replace(one, media=media and one.kind == "chat")
            for one in release.models
        )
        return msgspec.structs.replace(release, pops=tuple(found), models=models)

    async with provider, rig(directory, amend=amend) as fabric:
        for pop in fabric.pops.values():
            pop.state.engine_keys = {KEY_ENV: row.secret}
        yield fabric
