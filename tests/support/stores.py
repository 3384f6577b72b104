"""A store with one tenant in it, on a clock that a test sets."""

from __future__ import annotations

from dataclasses import dataclass

from selvedge.control.database import Breaker, Database
from selvedge.control.roles import Actor
from selvedge.control.rows import ClassRule, TenantForm
from selvedge.control.store import Store
from selvedge.control.tenancy_acts import Tenancy
from tests.support.fleets import NOW_US, PEPPER

OWNER = Actor("key:owner", "owner", request_id="req_t")
EEA = TenantForm(classes={"default": ClassRule("eea", "in-zone")})
ZONES = frozenset({"eea", "asean", "world"})


@dataclass
class Clock:
    """Microseconds UTC that only a test moves."""

    now_us: int = NOW_US

    def __call__(self) -> int:
        return self.now_us


@dataclass
class Bench:
    """The store and what writes to it."""

    store: Store
    tenancy: Tenancy
    clock: Clock


def make_store(url: str, fleet: str = "example", *, wait_ms: int = 2_000) -> Bench:
    """An upgraded, open store with tenant ``acme``."""
    database = Database(url, wait_ms=wait_ms, breaker=Breaker(open_s=0.2))
    database.upgrade()
    clock = Clock()
    store = Store(database, PEPPER, clock)
    store.open(fleet)
    tenancy = Tenancy(store, lambda: ZONES)
    tenancy.put_tenant(OWNER, "acme", EEA)
    return Bench(store, tenancy, clock)
