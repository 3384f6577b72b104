"""A rig with providers: stand-ins on loopback, and secrets sealed at the PoPs that dial them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from selvedge.adapters import ProviderSecrets
from selvedge.fabric import Engine, Provider, Release, Served
from tests.support.pops import Fabric, rig
from tests.support.scripted_engine import ScriptedEngine

SECRETS = {"one": "sk-upstream-FIRST-1111", "two": "sk-upstream-SECOND-2222"}


def provider(name: str, url: str, country: str = "US", **changes: Any) -> Provider:
    """One that serves `chat` as `theirs`; by default two keys, and nearer than any PoP."""
    engine: dict[str, Any] = {"in_flight_max": 64, "prefill_tokens_per_s": 100_000}
    for key in ("profile", "honours", "cost"):
        if key in changes:
            engine[key] = changes.pop(key)
    profile = engine.pop("profile", "openai")
    made = Engine("api", url, profile, (Served("chat", "theirs"),), **engine)
    fields: dict[str, Any] = {"rtt_ms": 0, "keys": tuple(SECRETS), "engines": (made,)}
    return Provider(name, country, **fields | changes)


@contextlib.asynccontextmanager
async def rig_abroad(
    directory: Path,
    stand_ins: Mapping[str, ScriptedEngine],
    *,
    sites: Mapping[str, Mapping[str, Any]] | None = None,
    secrets: Mapping[str, str] = SECRETS,
    amend: Any = lambda release: release,
    **asked: Any,
) -> AsyncIterator[Fabric]:
    """The fabric with a provider for each stand-in; ``sites`` are what is otherwise of them."""
    async with contextlib.AsyncExitStack() as stack:
        for one in stand_ins.values():
            await stack.enter_async_context(one)

        def with_providers(pop: str, release: Release) -> Release:
            made = tuple(
                provider(name, one.url, **(sites or {}).get(name, {}))
                for name, one in stand_ins.items()
            )
            return amend(msgspec.structs.replace(release, providers=made))

        fabric = await stack.enter_async_context(rig(directory, amend=with_providers, **asked))
        for pop in fabric.pops.values():
            kept = ProviderSecrets(pop.directory, pop.identity)
            for name, secret in secrets.items():
                kept.set(name, secret)
            pop.keeper.secrets.look()
        yield fabric


def keys_seen(engine: ScriptedEngine) -> list[str]:
    """With which key each request came to a stand-in, by its name; else as it came."""
    names = {f"Bearer {secret}": name for name, secret in SECRETS.items()}
    came = [one.headers.get("authorization", "") for one in engine.requests]
    return [names.get(one, one) for one in came]
