"""The desk's grants in the control store's database: one row for each holder and budget.

A write is one transaction and as bounded as any of the store (`database`): while the database is
away nothing is granted, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from selvedge.control.database import Database
from selvedge.control.tables import LEASES
from selvedge.ledger import Granted

_WHICH: Final = ("holder", "level", "kind")
_WHAT: Final = ("budget_window", "amount", "free_us", "number")


class SqlGrants:
    """A `GrantStore` over the store's database; it may be asked from any one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert = sqlite.insert if database.is_sqlite else postgresql.insert
        put = insert(LEASES)
        self._put = put.on_conflict_do_update(
            index_elements=_WHICH, set_={name: put.excluded[name] for name in _WHAT}
        )

    def write(self, rows: Sequence[Granted]) -> None:
        """Keep all of them, or none. Raises `StoreFailed`; they may have been kept even then."""
        if not rows:
            return
        values = [
            {
                "holder": row.holder,
                "level": row.level,
                "kind": row.kind,
                "budget_window": row.window,
                "amount": row.amount,
                "free_us": row.free_us,
                "number": row.number,
            }
            for row in rows
        ]
        with self._database.write() as connection:
            connection.execute(self._put, values)

    def load(self) -> Iterable[Granted]:
        """The newest row of each holder and budget. Raises `StoreFailed`."""
        with self._database.read() as connection:
            return [Granted(*row) for row in connection.execute(select(LEASES))]

    def drop(self, before_us: int) -> None:
        """Forget rows whose ``free_us`` is before this. Raises `StoreFailed`."""
        with self._database.write() as connection:
            connection.execute(delete(LEASES).where(LEASES.c.free_us < before_us))
