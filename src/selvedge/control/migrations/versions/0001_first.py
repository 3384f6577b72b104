"""The first form of the store.

A migration says what it makes in full and imports nothing of ours: the tables' own module goes on,
this file never changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_WORDS = "audit is append-only"
_SQLITE = """
CREATE TRIGGER audit_no_{verb} BEFORE {verb} ON audit
BEGIN SELECT RAISE(ABORT, '{words}'); END
"""
_POSTGRES_FUNCTION = """
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{words}'; END $$
"""
_POSTGRES = """
CREATE TRIGGER audit_no_{verb} BEFORE {verb} ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
"""


def _name(column: str, *, key: bool = False, null: bool = False) -> sa.Column[str]:
    return sa.Column(column, sa.String(64), primary_key=key, nullable=null)


def _big(column: str, *, null: bool = False, index: bool = False) -> sa.Column[int]:
    return sa.Column(column, sa.BigInteger, nullable=null, index=index)


def _text(column: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(column, sa.Text, nullable=null)


def _life() -> list[sa.Column[object]]:
    found: list[sa.Column[object]] = [
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False, index=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
    ]
    return found


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "counters",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        _big("stamp"),
        _name("fleet"),
        _name("pepper"),
    )
    op.create_table(
        "tenants",
        _name("id", key=True),
        _text("classes"),
        _text("limits"),
        *_life(),
        _big("removed_us", null=True),
    )
    op.create_table(
        "projects",
        _name("tenant", key=True),
        _name("id", key=True),
        _text("limits"),
        *_life(),
        _big("removed_us", null=True),
    )
    _keys()
    _grants_and_releases()
    _audit()


def _keys() -> None:
    op.create_table(
        "keys",
        _name("id", key=True),
        sa.Column("tenant", sa.String(64), nullable=False, index=True),
        _name("project"),
        _name("data_class"),
        _name("hash"),
        _big("expires_us", null=True),
        _text("models"),
        _text("routes"),
        _text("zones"),
        _text("limits"),
        _name("rotates", null=True),
        *_life(),
        _big("removed_us", null=True, index=True),
    )


def _grants_and_releases() -> None:
    op.create_table(
        "grants",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        _name("tenant", null=True),
        _name("hash", null=True),
        _big("expires_us", null=True),
        sa.Column("version", sa.Integer, nullable=False),
        _big("stamp"),
        _big("created_us"),
        _big("removed_us", null=True),
    )
    op.create_table(
        "releases",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        _big("stamp"),
        _big("made_us"),
        sa.Column("hash", sa.String(80), nullable=False),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("stamp", sa.BigInteger, primary_key=True, autoincrement=False),
        _big("at_us"),
        sa.Column("who", sa.String(160), nullable=False),
        sa.Column("act", sa.String(32), nullable=False),
        sa.Column("what", sa.String(160), nullable=False, index=True),
        _text("before", null=True),
        _text("after", null=True),
        _name("request_id", null=True),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(_SQLITE.format(verb=verb, words=_WORDS))
        return
    op.execute(_POSTGRES_FUNCTION.format(words=_WORDS))
    for verb in ("UPDATE", "DELETE", "TRUNCATE"):
        op.execute(_POSTGRES.format(verb=verb, words=_WORDS))
