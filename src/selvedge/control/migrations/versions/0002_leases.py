"""What of each budget was granted to each holder, so that a desk that begins again knows it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of leases."""
    op.create_table(
        "leases",
        sa.Column("holder", sa.String(384), primary_key=True),
        sa.Column("level", sa.String(256), primary_key=True),
        sa.Column("kind", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("budget_window", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("free_us", sa.BigInteger, nullable=False, index=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
