"""Issued invoices of a home: written once, read for ever; and the price books they were made by.

invoices/TENANT/YYYY-MM.json   the canonical bytes of an issued invoice
invoices/_prices/HASH.json     a price book that one of them names
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from selvedge.control.home import Home
from selvedge.fabric import NAME_PATTERN, SelvedgeError, StoreCorrupt, StoreFailed
from selvedge.ledger import (
    Closing,
    Invoice,
    PriceBook,
    check_month,
    hash_of_book,
    read_invoice,
    write_book,
    write_invoice,
)

INVOICES: Final = "invoices"
_BOOKS: Final = "_prices"
"""No tenant is called so."""


def check_tenant(tenant: str) -> None:
    """Raises `SelvedgeError` where this is no tenant's id: it becomes a part of a path."""
    if not NAME_PATTERN.fullmatch(tenant):
        raise SelvedgeError(f"{tenant!r} is no tenant: use a-z, 0-9, '.' and '-', at most 64")


class InvoiceStore:
    """The invoices that were issued from one home."""

    def __init__(self, home: Home) -> None:
        self.directory = home.directory / INVOICES

    def path(self, tenant: str, month: str) -> Path:
        """Where an invoice lies, or would."""
        check_tenant(tenant)
        return self.directory / tenant / f"{check_month(month)}.json"

    def read(self, tenant: str, month: str) -> Invoice | None:
        """An issued invoice; None where there is none. Raises `StoreCorrupt`, `StoreFailed`."""
        path = self.path(tenant, month)
        data = _read(path)
        if data is None:
            return None
        try:
            found = read_invoice(data)
        except StoreCorrupt as error:
            raise StoreCorrupt(f"{path}: {error}; restore it from a copy") from error
        if write_invoice(found) != data or (found.tenant, found.bill.month) != (tenant, month):
            raise StoreCorrupt(f"{path} is not as it was issued; restore it from a copy")
        return found

    def tenants(self) -> list[str]:
        """Who has an invoice."""
        found = {path.parent.name for path in self.directory.glob("*/????-??.json")}
        return sorted(found - {_BOOKS})

    def of_tenant(self, tenant: str) -> list[Invoice]:
        """All invoices of a tenant, by month. Raises `StoreCorrupt`."""
        check_tenant(tenant)
        months = sorted(path.stem for path in (self.directory / tenant).glob("????-??.json"))
        return [one for month in months if (one := self.read(tenant, month)) is not None]

    def closings(self, tenant: str) -> list[Closing]:
        """Closed months with all that was billed for them so far."""
        return closings_of(self.of_tenant(tenant))

    def book(self, name: str) -> PriceBook:
        """The price book of a hash. Raises `StoreCorrupt` where it is not here, or another."""
        path = self._book(name)
        data = _read(path)
        if data is None:
            raise StoreCorrupt(f"{path} is gone: invoices were made by it; restore it")
        try:
            found = msgspec.json.decode(data, type=PriceBook)
        except (msgspec.MsgspecError, SelvedgeError) as error:
            raise StoreCorrupt(f"{path} is no price book: {error}; restore it") from error
        if hash_of_book(found) != name:
            raise StoreCorrupt(f"{path} is another book than its name says; restore it")
        return found

    def _book(self, name: str) -> Path:
        return self.directory / _BOOKS / f"{name.removeprefix('sha256:')}.json"

    @contextlib.contextmanager
    def issuing(self) -> Iterator[None]:
        """Only one process at a time issues: a late receipt is in one invoice."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(
                self.directory / "issue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise StoreFailed(f"{self.directory} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def keep(self, invoice: Invoice, book: PriceBook) -> Path:
        """Write an issued invoice, once. Raises `StoreFailed` where there is one already."""
        path = self.path(invoice.tenant, invoice.bill.month)
        book_path = self._book(invoice.prices_hash)
        if not book_path.exists():
            _write_once(book_path, write_book(book))
        _write_once(path, write_invoice(invoice))
        return path


def closings_of(invoices: list[Invoice]) -> list[Closing]:
    """Closed months of one tenant with all that was billed for them."""
    adjusted = [(one.number, adjustment) for one in invoices for adjustment in one.adjustments]
    return [
        Closing(
            one,
            tuple((name, made.bill) for name, made in adjusted if made.invoice == one.number),
        )
        for one in invoices
    ]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreFailed(f"{path} cannot be read: {error.strerror}") from error


def _write_once(path: Path, data: bytes) -> None:
    """A whole file or none, also after a crash; one that is there stays as it is."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # What a process of this number left when it died may be the very file that was issued.
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o444)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        _sync_directory(path.parent)
        _sync_directory(path.parent.parent)
    except FileExistsError as error:
        raise StoreFailed(f"{path} is there already, and is never rewritten") from error
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
