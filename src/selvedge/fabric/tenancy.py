"""Who is served: tenants, their data classes and projects, their keys, and what each may use.

Limits are whole numbers; None is no limit at that level. A request must fit under all three levels:
its key's, its project's and its tenant's.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from selvedge.fabric.caching import CacheRule
from selvedge.fabric.errors import BadRelease
from selvedge.fabric.names import check_name, check_unique
from selvedge.fabric.policy import Handling
from selvedge.fabric.request import DIALECT_PATHS, Route

Ingress = Literal["in-zone", "transit-allowed"]

LIMIT_MAX: Final = 2**53 - 1


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one level may use in all PoPs together. Minutes, days and months are UTC's."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Prompt and completion tokens."""
    concurrent_requests: int | None = None
    micro_dollars_per_day: int | None = None
    micro_dollars_per_month: int | None = None

    def check(self, what: str) -> None:
        """Raises `BadRelease` where a limit is negative or too large; ``what`` is the field."""
        for name in self.__struct_fields__:
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit <= LIMIT_MAX:
                raise BadRelease(f"{what}.{name}", f"is from 0 to {LIMIT_MAX}, or left out")


NO_LIMITS: Final = Limits()


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model's tokens cost, in micro-dollars per million; ``cached`` of prompts is read."""

    input: int
    output: int
    cached: int | None = None
    """None: as ``input``."""
    cache_write: int | None = None
    """None: as ``input``."""
    request: int = 0
    """Micro-dollars per request that bills anything."""
    until_us: int | None = None
    """The model has no price from then on, until a release gives it one."""

    def check(self, what: str) -> None:
        """Raises `BadRelease` where a price is negative or too large; ``what`` is the field."""
        for name in self.__struct_fields__:
            price = getattr(self, name)
            if price is not None and not 0 <= price <= LIMIT_MAX:
                raise BadRelease(f"{what}.{name}", f"is from 0 to {LIMIT_MAX} micro-dollars")


class DataClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant's rule for one kind of data: where it may be processed, where it may enter.

    ``policy`` names a rule of the release's policy, which decides inside the zone; None: the zone
    alone decides. ``handling`` is what every engine that processes it must honour.
    """

    id: str
    zone: str
    ingress: Ingress
    policy: str | None = None
    handling: tuple[Handling, ...] = ()
    cache: CacheRule | None = None
    """What may be answered from the cache; None: nothing is kept."""

    def __post_init__(self) -> None:
        check_name("classes", self.id)
        if self.cache is not None:
            self.cache.check(f"classes.{self.id}.cache")
            if "zero-retention" in self.handling:
                words = "zero-retention keeps nothing: drop it from handling, or drop the cache"
                raise BadRelease(f"classes.{self.id}.cache", words)


class Tenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is served and billed, with its data classes."""

    id: str
    classes: tuple[DataClass, ...]
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        check_name("tenants", self.id)
        if not self.classes:
            raise BadRelease(f"tenants.{self.id}.classes", "a tenant has at least one data class")
        check_unique(f"tenants.{self.id}.classes", [one.id for one in self.classes])
        self.limits.check(f"tenants.{self.id}.limits")


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a tenant with limits of its own; one that a key names alone has none."""

    id: str
    tenant: str
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        check_name("projects", self.id)
        self.limits.check(f"projects.{self.tenant}/{self.id}.limits")


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key as the fleet knows it: HMAC-SHA-256 of its secret, in hex, never the secret.

    ``models``, ``routes`` and ``zones`` narrow what it may be used for; empty ones narrow nothing.
    """

    id: str
    tenant: str
    data_class: str
    hash: str
    project: str = "default"
    expires_us: int | None = None
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    """Paths, as ``/v1/chat/completions``; another API's form of it is a path of its own."""
    zones: tuple[str, ...] = ()
    """Zones outside which nothing is processed, beside the rule of its data class."""
    limits: Limits = NO_LIMITS
    passes_to: str | None = None
    """The provider whose own key it is: requests are asked there with what the client sent."""
    falls_back: bool = False
    """Where it is a provider's: whether the fleet's own engines may answer when that does not."""

    def __post_init__(self) -> None:
        check_name("keys", self.id)
        check_name(f"keys.{self.id}.project", self.project)
        known = [*(route.value for route in Route), *DIALECT_PATHS]
        for route in self.routes:
            if route not in known:
                raise BadRelease(
                    f"keys.{self.id}.routes", f"{route!r} is not of {', '.join(known)}"
                )
        self.limits.check(f"keys.{self.id}.limits")
        if self.falls_back and self.passes_to is None:
            words = "goes only with 'passes_to': a key of ours is for all engines anyway"
            raise BadRelease(f"keys.{self.id}.falls_back", words)
        if not re.fullmatch(r"[0-9a-f]{64}", self.hash):
            raise BadRelease(f"keys.{self.id}.hash", "is 64 hexadecimal digits")
