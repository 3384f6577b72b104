"""The price book as people write it, and as it is kept: YAML -> a checked book -> a sealed file.

Amounts are micro-dollars, or dollars as ``$0.05``; shares are parts per million, or ``7.5%``: both
are read digit by digit, never through a float. A day may be written without quotes. A home keeps
every version that was ever published, each in its own sealed file, so that an invoice of an older
version can be computed again; versions only grow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Final

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters.release_store import write_atomically
from selvedge.adapters.signed_files import (
    WatchedFile,
    check_envelope,
    hash_of,
    is_signed,
    signature_of,
)
from selvedge.adapters.yaml_text import one_line, read_yaml
from selvedge.fabric import BadRelease
from selvedge.ledger import BadPriceBook, PriceBook

PRICES_BYTES_MAX: Final = 16 * 1024 * 1024
_DOMAIN: Final = b"selvedge/prices/v1\n"
_DOLLARS: Final = re.compile(r"\$([0-9]{1,9})(?:\.([0-9]{1,6}))?")
_PERCENT: Final = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,4}))? ?%")
_RATES: Final = frozenset({"input", "output", "cached", "cache_write", "request", "cache_hit"})
_CURRENCY_HINT: Final = "a row has none of its own: it is in the book's currency"


class HeldPrices(msgspec.Struct, frozen=True):
    """A price book that has been checked, with its hash (``sha256:…``)."""

    book: PriceBook
    hash: str


class SignedPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The envelope: ``prices`` is verified as the bytes it is, never re-encoded."""

    prices: msgspec.Raw
    hash: str
    signature: str
    v: int = 1


def read_prices(path: Path) -> PriceBook:
    """Read a book that people wrote. Raises `BadPriceBook`: one line that says what is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(PRICES_BYTES_MAX + 1)
    except OSError as error:
        raise BadPriceBook(str(path), f"cannot be read: {error.strerror}") from error
    if len(data) > PRICES_BYTES_MAX:
        raise BadPriceBook(str(path), f"exceeds {PRICES_BYTES_MAX} bytes")
    try:
        return parse_prices(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadPriceBook(str(path), f"is not UTF-8 at byte {error.start}") from error
    except BadPriceBook as error:
        raise BadPriceBook(str(path), str(error)) from error


def parse_prices(text: str) -> PriceBook:
    """The book of a YAML text. Raises `BadPriceBook`."""
    try:
        found = read_yaml(text)
        if not isinstance(found, dict):
            words = "the file holds no book; it begins with 'version: 1' and 'prices:'"
            raise BadPriceBook("prices", words)
        return msgspec.convert(_plain(found, ""), PriceBook)
    except (YAMLError, msgspec.ValidationError) as error:
        field, _, words = one_line(error).rpartition(": ")
        raise BadPriceBook(field or "the file", words) from error


def _plain(found: object, where: str, name: str = "") -> object:
    """What was written, with amounts, shares and days in the form of the book."""
    if isinstance(found, dict):
        rows = where.endswith("]") and ".prices[" in f".{where}"
        if rows and "currency" in found:
            raise BadPriceBook(f"{where}.currency", _CURRENCY_HINT)
        return {
            key: _plain(one, f"{where}.{key}".lstrip("."), str(key)) for key, one in found.items()
        }
    if isinstance(found, list):
        return [_plain(one, f"{where}[{at}]", name) for at, one in enumerate(found)]
    if isinstance(found, datetime):
        raise BadPriceBook(where, "is a time of day; prices hold for whole UTC days: 2026-11-01")
    if isinstance(found, date):
        return found.isoformat()
    reader = _reader_of(name)
    return found if reader is None or found is None else reader(where, found)


def _reader_of(name: str) -> Callable[[str, object], int] | None:
    if name in _RATES or "micro_dollars" in name:
        return read_amount
    return _ppm if name.endswith("_ppm") or name == "credit_ppm_max" else None


def read_amount(where: str, written: object) -> int:
    """Micro-dollars of what was written: a whole number of them, or dollars as ``$0.05``.

    Raises `BadPriceBook`.
    """
    if isinstance(written, int) and not isinstance(written, bool):
        return written
    found = _DOLLARS.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        words = f"{_shown(written)} is not an amount: micro-dollars as 50000, or dollars as $0.05 "
        raise BadPriceBook(where, words + "with at most 6 decimals")
    return int(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0"))


def _ppm(where: str, written: object) -> int:
    if isinstance(written, int) and not isinstance(written, bool):
        return written
    found = _PERCENT.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        words = f"{_shown(written)} is not a share: parts per million as 75000, or 7.5% with at "
        raise BadPriceBook(where, words + "most 4 decimals")
    return int(found[1]) * 10_000 + int((found[2] or "").ljust(4, "0"))


def _shown(written: object) -> str:
    return repr(written if not isinstance(written, str) else written[:40])


def seal_prices(book: PriceBook, operator_private: bytes) -> bytes:
    """The file of a signed book."""
    body = msgspec.json.encode(book)
    signature = signature_of(_DOMAIN, body, operator_private)
    return msgspec.json.encode(SignedPrices(msgspec.Raw(body), hash_of(body), signature))


def hash_prices(book: PriceBook) -> str:
    """The hash by which receipts' folds name this book."""
    return hash_of(msgspec.json.encode(book))


def open_prices(data: bytes, operator_public: str) -> HeldPrices:
    """Check a signed book in full. Raises `BadPriceBook` that names what does not hold."""
    if len(data) > PRICES_BYTES_MAX:
        raise BadPriceBook("prices", f"exceed {PRICES_BYTES_MAX} bytes")
    try:
        signed = msgspec.json.decode(data, type=SignedPrices)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadPriceBook("prices", f"are no signed book: {error}") from error
    body = bytes(signed.prices)
    if not is_signed(_DOMAIN, body, signed.signature, operator_public):
        raise BadPriceBook("signature", "is not the operator's")
    try:
        check_envelope("price book", body, signed.hash, signed.v)
        return HeldPrices(msgspec.json.decode(body, type=PriceBook), signed.hash)
    except BadRelease as error:
        raise BadPriceBook("prices", str(error)) from error
    except msgspec.MsgspecError as error:
        raise BadPriceBook("prices", str(error)) from error


class PriceStore:
    """Every book that was published from a home, by version. Made when the first is kept."""

    def __init__(self, directory: Path, operator_public: str) -> None:
        self._directory = directory
        self._public = operator_public
        self._read: tuple[int, WatchedFile, HeldPrices] | None = None

    def newest(self) -> HeldPrices | None:
        """The book that counts; None where nothing was ever priced. Raises `BadPriceBook`.

        Read anew only where the file is another one.
        """
        versions = self.versions()
        if not versions:
            return None
        last = versions[-1]
        if self._read is not None and self._read[0] == last and not self._read[1].changed():
            return self._read[2]
        self._read = None
        watched = WatchedFile(self._path(last))
        watched.changed()
        held = self.version(last)
        self._read = (last, watched, held)
        return held

    def version(self, version: int) -> HeldPrices:
        """One version. Raises `BadPriceBook` where it is not there, or does not hold."""
        path = self._path(version)
        try:
            held = open_prices(path.read_bytes(), self._public)
        except OSError as error:
            words = f"{version} is not kept here ({error.strerror}); "
            words += f"there is {', '.join(map(str, self.versions())) or 'none'}"
            raise BadPriceBook("version", words) from error
        except BadPriceBook as error:
            raise BadPriceBook(str(path), str(error)) from error
        if held.book.version != version:
            raise BadPriceBook(str(path), f"holds version {held.book.version}; restore the file")
        return held

    def versions(self) -> list[int]:
        """What is kept, from the oldest to the newest."""
        names = [path.stem for path in self._directory.glob("*.json")]
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def check_newer(self, book: PriceBook) -> HeldPrices:
        """The book with its hash, if it may follow what is kept: it is newer, or the very same.

        Raises `BadPriceBook`.
        """
        made = HeldPrices(book, hash_prices(book))
        newest = self.newest()
        if newest is None or newest.book.version < book.version or newest.hash == made.hash:
            return made
        last = newest.book.version
        why = "is published, with other prices" if last == book.version else "is older"
        words = f"{book.version} {why}; versions only grow: give this book {last + 1} or more"
        raise BadPriceBook("version", words)

    def keep(self, book: PriceBook, operator_private: bytes) -> HeldPrices:
        """Seal and keep a book. Raises `BadPriceBook` where it is not newer, and `StoreFailed`."""
        made = self.check_newer(book)
        if book.version not in self.versions():
            write_atomically(self._path(book.version), seal_prices(book, operator_private))
        return made

    def _path(self, version: int) -> Path:
        return self._directory / f"{version:06}.json"
