"""What was granted, by the page: some budgets of one holder together, as they are written.

And which process it is that grants.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PAGE = 32
_BATCH = 100


def upgrade() -> None:
    """Make the table of pages, and bring into it what the table of rows has."""
    pages = op.create_table(
        "lease_pages",
        sa.Column("holder", sa.String(384), primary_key=True),
        sa.Column("page", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("free_us", sa.BigInteger, nullable=False),
        sa.Column("grants", sa.Text, nullable=False),
    )
    op.create_table(
        "desk_seat",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(512), nullable=False),
    )
    what = "holder, level, kind, budget_window, amount, free_us, number"
    rows = op.get_bind().execute(sa.text(f"SELECT {what} FROM leases ORDER BY holder")).all()
    made: list[dict[str, Any]] = []  # Any: what a column takes
    for row in rows:
        last = made[-1] if made else None
        if last is None or last["holder"] != row.holder or len(last["grants"]) == _PAGE:
            page = last["page"] + 1 if last is not None and last["holder"] == row.holder else 0
            last = {"holder": row.holder, "page": page, "number": 0, "free_us": 0, "grants": []}
            made.append(last)
        last["number"] = max(last["number"], row.number)
        last["free_us"] = max(last["free_us"], row.free_us)
        last["grants"].append(list(row[1:6]))
    for one in made:
        one["grants"] = json.dumps(one["grants"])
    for at in range(0, len(made), _BATCH):
        op.bulk_insert(pages, made[at : at + _BATCH])
    op.drop_table("leases")
