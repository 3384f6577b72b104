"""The desk's grants in the control store's database: a row for each page of a holder's budgets.

A write is one transaction and as bounded as any of the store (`database`): while the database is
away nothing is granted, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from selvedge.control.database import Database
from selvedge.control.desk_seat import DeskSeat
from selvedge.control.tables import LEASE_PAGES
from selvedge.fabric import StoreFailed
from selvedge.ledger import Granted, GrantedPage

_WHICH: Final = ("holder", "page")
_WHAT: Final = ("number", "free_us", "grants")
_encode: Final = msgspec.json.Encoder().encode
_rows: Final = msgspec.json.Decoder(list[Granted])


class SqlGrants:
    """A `GrantStore` over the store's database; it may be asked from any one thread at a time."""

    def __init__(self, database: Database, seat: DeskSeat | None = None) -> None:
        """``seat``: nothing is written by a process that has lost it."""
        self._database = database
        self._seat = seat
        insert = sqlite.insert if database.is_sqlite else postgresql.insert
        put = insert(LEASE_PAGES)
        self._put = put.on_conflict_do_update(
            index_elements=_WHICH, set_={name: put.excluded[name] for name in _WHAT}
        )

    def write(self, pages: Sequence[GrantedPage]) -> None:
        """Keep all of them, or none. Raises `StoreFailed`; they may have been kept even then."""
        if not pages:
            return
        values = [
            {
                "holder": page.holder,
                "page": page.page,
                "number": page.number,
                "free_us": page.free_us,
                "grants": _encode(page.rows).decode(),
            }
            for page in pages
        ]
        with self._database.write() as connection:
            self._check(connection)
            connection.execute(self._put, values)

    def load(self) -> Iterable[GrantedPage]:
        """The newest of each page. Raises `StoreFailed`."""
        with self._database.read() as connection:
            found = connection.execute(select(LEASE_PAGES)).all()
        try:
            return [
                GrantedPage(row.holder, row.page, row.number, _rows.decode(row.grants))
                for row in found
            ]
        except msgspec.MsgspecError as error:
            raise StoreFailed(f"the table lease_pages holds what is no grant: {error}") from error

    def drop(self, before_us: int) -> None:
        """Forget pages whose ``free_us`` is before this. Raises `StoreFailed`."""
        with self._database.write() as connection:
            self._check(connection)
            connection.execute(delete(LEASE_PAGES).where(LEASE_PAGES.c.free_us < before_us))

    def _check(self, connection: Connection) -> None:
        if self._seat is not None:
            self._seat.check(connection)
