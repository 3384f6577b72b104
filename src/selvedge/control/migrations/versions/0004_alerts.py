"""What customers want to be told of their spending and service, and what was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of alerts and their events."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False, index=True),
        sa.Column("project", sa.String(64)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("thresholds", sa.Text, nullable=False),
        sa.Column("budget_micro_dollars", sa.BigInteger),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("removed_us", sa.BigInteger),
    )
    op.create_table(
        "alert_events",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("alert", sa.String(64), nullable=False, index=True),
        sa.Column("tenant", sa.String(64), nullable=False, index=True),
        sa.Column("month", sa.String(32), nullable=False),
        sa.Column("threshold", sa.String(160), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
        sa.Column("next_us", sa.BigInteger, nullable=False, index=True),
        sa.Column("told", sa.Text, nullable=False),
    )
