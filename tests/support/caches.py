"""The answer cache of a PoP in a test: a real store on the disk, written at once by the same loop.

What the process beside a PoP does is told by its own tests; here an answer that is handed over lies
in the store before the next request, and what is similar is what the test says.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from selvedge.adapters import AnswerStore, KeptAnswer, Purge, Put, ScopeKeys
from selvedge.adapters.cache_link import LinkCounts
from selvedge.cache import Asked, Scope
from selvedge.fabric import CacheRule, Release, StoreFailed
from selvedge.pop.cache_way import Judges, Similar
from tests.support.pops import RunningPop


class Like(msgspec.Struct):
    """A similar answer, as the process would say it."""

    entry: KeptAnswer
    similarity: float


class WritingLink:
    """Hands answers straight to a store; `similar` says what is like what is asked."""

    def __init__(self, store: AnswerStore) -> None:
        self.store = store
        self.kept: list[tuple[Scope, Asked, KeptAnswer]] = []
        self.asked: list[tuple[Scope, CacheRule, Asked]] = []
        self.similar: Callable[[Scope, Asked], Similar | None] = lambda scope, asked: None
        self.counts = LinkCounts()
        self.hits: list[str] = []
        self.bad: list[tuple[str, str]] = []
        self.held: list[Callable[[], None]] | None = None
        """Answers that wait to be told, where they are to wait."""

    def recall(
        self,
        scope: Scope,
        rule: CacheRule,
        asked: Asked,
        now_us: int,
        tell: Callable[[Similar | None], None],
        *,
        key: str = "",
    ) -> None:
        """Tell at once, or when the test lets it go."""
        self.asked.append((scope, rule, asked))
        found = self.similar(scope, asked)
        if self.held is None:
            tell(found)
        else:
            self.held.append(lambda: tell(found))

    def judge_by(self, judge: Judges) -> None:
        """Nothing is judged here."""

    def start(self) -> None:
        """There is nothing to connect to."""

    def stop(self) -> None:
        """Nor to let go of."""

    def hit(self, scope: Scope, entry: str) -> None:
        """Note it."""
        self.hits.append(entry)

    async def report_bad(self, tenant: str, entry: str, now_us: int) -> None:
        """Note it, and drop the entry; another tenant's is none."""
        if not any(kept.id == entry and scope.tenant == tenant for scope, _, kept in self.kept):
            raise StoreFailed(f"tenant {tenant!r} has no entry {entry!r}")
        self.bad.append((tenant, entry))
        await self.purge(Purge(tenant=tenant, entry=entry), now_us)

    async def purge(self, what: Purge, now_us: int) -> None:
        """Purge the store."""
        self.store.purge(what, now_us)

    async def stats(self, tenant: str | None = None) -> bytes:
        """How many answers were handed over."""
        owned = [kept.id for scope, _, kept in self.kept if scope.tenant == tenant]
        return msgspec.json.encode({"entries": len(owned)})

    def remember(
        self, scope: Scope, rule: CacheRule, asked: Asked, kept: KeptAnswer, *, key: str = ""
    ) -> None:
        """Write it down."""
        self.kept.append((scope, asked, kept))
        self.store.put(Put(scope, asked.exact, kept), kept.made_us)


def open_cache(pop: RunningPop) -> WritingLink:
    """Give a PoP of a rig a cache."""
    keys = ScopeKeys(pop.directory / "cache.keys", writes=True)
    link = WritingLink(AnswerStore(pop.directory / "cache", keys, writes=True))
    pop.state.cache.store = link.store  # one map may be opened once in a process
    pop.state.cache.link = pop.state.cache.desk = link
    return link


def with_cache(rule: CacheRule, *tenants: str) -> Callable[[str, Release], Release]:
    """Amends a rig's release: the classes of these tenants, or of all, have a cache."""

    def amend(_: str, release: Release) -> Release:
        return msgspec.structs.replace(
            release,
            tenants=tuple(
                msgspec.structs.replace(
                    tenant,
                    classes=tuple(
                        msgspec.structs.replace(one, cache=rule)
                        if not tenants or tenant.id in tenants
                        else one
                        for one in tenant.classes
                    ),
                )
                for tenant in release.tenants
            ),
        )

    return amend
