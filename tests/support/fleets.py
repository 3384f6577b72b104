"""The example fleet of the tests: three PoPs, three tenants, as a release and as views of it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from selvedge.exchange import FleetView, Secrets, compile_view
from selvedge.fabric import (
    COUNTRIES,
    GROUPS,
    DataClass,
    Engine,
    Head,
    Key,
    Model,
    PoP,
    Provider,
    Release,
    Route,
    Served,
    Tenant,
    Zone,
)
from selvedge.ledger import hash_secret, write_key
from selvedge.routing import Load

PEPPER = b"pepper of the tests"
NOW_US = 1_800_000_000_000_000
RELEASE_HASH = "ab" * 32
IDLE = Load({}, frozenset())
BODY = b'{"model":"chat","messages":[{"role":"user","content":"CANARY"}]}'
STREAM_BODY = BODY[:-1] + b',"stream":true}'

SITES = {
    "sin": ("Singapore", "SG", 1.3521, 103.8198),
    "fra": ("Frankfurt", "DE", 50.1109, 8.6821),
    "cgk": ("Jakarta", "ID", -6.2088, 106.8456),
}
# Key id -> tenant and data class.
KEYS = {
    "asean": ("asean", "default"),
    "eea": ("eea", "transit"),
    "eea-strict": ("eea", "strict"),
    "free": ("free", "default"),
    "old": ("free", "default"),
}


def make_pop(pop: str, engines: bool = True) -> PoP:
    """One of `SITES`."""
    city, country, latitude, longitude = SITES[pop]
    own = (
        Engine(f"{pop}-chat", "http://127.0.0.1:9001", "llama.cpp", (Served("chat", "small"),)),
        Engine(f"{pop}-embed", "http://127.0.0.1:9002", "openai", (Served("embed", "embed"),)),
    )
    return PoP(
        id=pop,
        city=city,
        country=country,
        latitude=latitude,
        longitude=longitude,
        url=f"https://{pop}.example.net",
        peer=f"{pop}.example.net:8443",
        public_key="A" * 43 + "=",
        entity=f"Example {country}",
        engines=own if engines else (),
    )


def make_provider(name: str, country: str, **changes: Any) -> Provider:  # Any: fields of Provider
    """A provider with one engine that serves `chat`."""
    engine = Engine("api", "http://127.0.0.1:9009", "openai", (Served("chat", "gpt"),))
    fields: dict[str, Any] = {"entity": f"Vendor {country}", "engines": (engine,)}
    return Provider(name, country, **fields | changes)


def make_release(**changes: Any) -> Release:  # Any: fields of Release
    """The example release, with some fields replaced."""
    fields: dict[str, Any] = {
        "fleet": "example",
        "version": 7,
        "made_us": NOW_US,
        "models": (
            Model("chat", "chat", "sha256:" + "11" * 32, "Q4_K_M", 4096),
            Model("embed", "embedding", "sha256:" + "22" * 32, "F16", 512),
        ),
        "pops": (make_pop("sin"), make_pop("fra"), make_pop("cgk", engines=False)),
        "zones": (
            Zone("asean", tuple(sorted(GROUPS["ASEAN"]))),
            Zone("eea", tuple(sorted(GROUPS["EEA"]))),
            Zone("world", tuple(sorted(COUNTRIES))),
        ),
        "tenants": (
            Tenant("asean", (DataClass("default", "asean", "in-zone"),)),
            Tenant(
                "eea",
                (
                    DataClass("transit", "eea", "transit-allowed"),
                    DataClass("strict", "eea", "in-zone"),
                ),
            ),
            Tenant("free", (DataClass("default", "world", "transit-allowed"),)),
        ),
        "keys": tuple(
            Key(
                id=key,
                tenant=tenant,
                data_class=data_class,
                hash=hash_secret(PEPPER, key, f"secretof{tenant}"),
                expires_us=NOW_US if key == "old" else None,
            )
            for key, (tenant, data_class) in KEYS.items()
        ),
    }
    return Release(**fields | changes)


def bearer(key: str) -> str:
    """The Authorization header of one of `KEYS`."""
    return f"Bearer {write_key(key, f'secretof{KEYS[key][0]}')}"


def pair_key(a: str, b: str) -> bytes:
    """The ticket key two PoPs share."""
    return hashlib.sha256("/".join(sorted((a, b))).encode()).digest()


def make_view(here: str, release: Release | None = None, load: Load = IDLE) -> FleetView:
    """What the PoP `here` knows."""
    pair_keys = {pop: pair_key(here, pop) for pop in SITES if pop != here}
    made = make_release() if release is None else release
    return compile_view(made, RELEASE_HASH, here, Secrets(PEPPER, pair_keys), load)


def make_head(authorization: str | None = None, **changes: Any) -> Head:  # Any: fields of Head
    """A head as the PoP makes it, received at `NOW_US`."""
    head = Head(
        request_id="req_1",
        receipt_id="rcpt_1",
        route=Route.CHAT,
        authorization=authorization,
        content_length=len(BODY),
        received_us=NOW_US,
        deadline_us=NOW_US + 60_000_000,
        client_ip="203.0.113.9",
        client_request_id="mine",
    )
    return msgspec.structs.replace(head, **changes)
