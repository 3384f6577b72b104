"""The store's tables, as the newest migration leaves them.

Tenants, projects and keys are the rows from which releases and deltas are made; every row says at
which act it last changed (``stamp``). Acts are counted in one row, so that they have one order, and
each is written down in ``audit``, which a trigger of the database keeps from being changed. No row
holds a secret: keys appear as keyed hashes.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text

METADATA: Final = MetaData()

COUNTERS: Final = Table(
    "counters",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("stamp", BigInteger, nullable=False),
    Column("fleet", String(64), nullable=False),
    Column("pepper", String(64), nullable=False),
)
"""One row: the last act's stamp, whose fleet this is, and a hash that knows the fleet's pepper."""

TENANTS: Final = Table(
    "tenants",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("classes", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False, index=True),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
)

PROJECTS: Final = Table(
    "projects",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("limits", Text, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False, index=True),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
)

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("project", String(64), nullable=False),
    Column("data_class", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("expires_us", BigInteger),
    Column("models", Text, nullable=False),
    Column("routes", Text, nullable=False),
    Column("zones", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("rotates", String(64)),
    Column("version", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False, index=True),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger, index=True),
)

GRANTS: Final = Table(
    "grants",
    METADATA,
    Column("id", String(128), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("tenant", String(64)),
    Column("hash", String(64)),
    Column("expires_us", BigInteger),
    Column("version", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
)
"""Who may act: an admin key where ``hash`` is there, else a person as the issuer names them."""

RELEASES: Final = Table(
    "releases",
    METADATA,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("stamp", BigInteger, nullable=False),
    Column("made_us", BigInteger, nullable=False),
    Column("hash", String(80), nullable=False),
)
"""Which acts a release has in it: all up to ``stamp``."""

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("stamp", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("who", String(160), nullable=False),
    Column("act", String(32), nullable=False),
    Column("what", String(160), nullable=False, index=True),
    Column("before", Text),
    Column("after", Text),
    Column("request_id", String(64)),
)

LEASE_PAGES: Final = Table(
    "lease_pages",
    METADATA,
    Column("holder", String(384), primary_key=True),
    Column("page", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("free_us", BigInteger, nullable=False),
    Column("grants", Text, nullable=False),
)
"""What the desk granted: `ledger.GrantedPage`, its rows in JSON."""

DESK_SEAT: Final = Table(
    "desk_seat",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("token", String(64), nullable=False),
    Column("owner", String(512), nullable=False),
)
"""One row: which process is the desk; no backup has it."""

ALERTS: Final = Table(
    "alerts",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("project", String(64)),
    Column("kind", String(16), nullable=False),
    Column("thresholds", Text, nullable=False),
    Column("budget_micro_dollars", BigInteger),
    Column("url", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
)
"""What customers want to be told. The secret of a webhook is derived of the pepper, not kept."""

ALERT_EVENTS: Final = Table(
    "alert_events",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("alert", String(64), nullable=False, index=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("month", String(32), nullable=False),
    Column("threshold", String(160), nullable=False),
    Column("type", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("made_us", BigInteger, nullable=False),
    Column("next_us", BigInteger, nullable=False, index=True),
    Column("told", Text, nullable=False),
)
"""What was told or is to be: ``waiting``, ``delivered`` or ``dead``; ``told``: the last try."""

TABLES: Final = (
    *(COUNTERS, TENANTS, PROJECTS, KEYS, GRANTS, RELEASES, AUDIT, LEASE_PAGES),
    *(ALERTS, ALERT_EVENTS),
)
"""In an order in which they may be filled."""

LEASES: Final = Table(
    "leases",
    MetaData(),
    Column("holder", String(384)),
    Column("level", String(256)),
    Column("kind", Integer),
    Column("budget_window", BigInteger),
    Column("amount", BigInteger),
    Column("free_us", BigInteger),
    Column("number", BigInteger),
)
"""What the desk granted, until revision 0003."""

OLD_TABLES: Final = (LEASES,)
"""Tables that a backup of an earlier revision may have; they are upgraded when it is restored."""
