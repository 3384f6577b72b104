"""The files that service levels are told by: the price book, and announced maintenance.

Maintenance is a YAML list; each window says when it was announced, and one that was not announced
before it began is refused by name: it would excuse what nobody was told.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters import one_line, read_yaml
from selvedge.fabric import SelvedgeError
from selvedge.ledger import ALL_MODELS, BadPriceBook, Maintenance, PriceBook

BOOK_FILE = "prices.yaml"
MAINTENANCE_FILE = "maintenance.yaml"


class WindowForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A maintenance window as people write it; moments are UTC where they name no zone."""

    since: str
    until: str
    announced: str
    model: str = ALL_MODELS
    zone: str | None = None
    why: str = ""


def read_book(path: Path) -> PriceBook:
    """The price book of a file. Raises `SelvedgeError`."""
    try:
        book = msgspec.convert(_plain(path), PriceBook)
    except msgspec.ValidationError as error:
        raise BadPriceBook(str(path), one_line(error)) from error
    return book


def read_maintenance(path: Path | None) -> tuple[Maintenance, ...]:
    """The windows of a file, none where there is none. Raises `SelvedgeError`."""
    if path is None:
        return ()
    try:
        forms = msgspec.convert(_plain(path), list[WindowForm])
    except msgspec.ValidationError as error:
        raise SelvedgeError(f"{path}: {one_line(error)}") from error
    return tuple(_window(f"{path}[{number}]", one) for number, one in enumerate(forms))


def _plain(path: Path) -> Any:  # Any: whatever the file says
    try:
        found = read_yaml(path.read_text("utf-8"))
    except OSError as error:
        raise SelvedgeError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SelvedgeError(f"{path} is not UTF-8 at byte {error.start}") from error
    except YAMLError as error:
        raise SelvedgeError(f"{path} is no YAML: {one_line(error)}") from error
    return _undated(found)


def _undated(value: Any) -> Any:  # Any: plain values
    """YAML reads what looks like a day or a moment; here they are words as they were written."""
    if isinstance(value, dict):
        return {key: _undated(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_undated(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


def _window(where: str, form: WindowForm) -> Maintenance:
    since, until, announced = (
        _moment_us(f"{where}.{name}", getattr(form, name))
        for name in ("since", "until", "announced")
    )
    if since >= until:
        raise SelvedgeError(f"{where}: it ends ({form.until}) before it begins ({form.since})")
    if announced >= since:
        words = f"it was announced ({form.announced}) when it had begun ({form.since})"
        raise SelvedgeError(f"{where}: {words}; take it out: it excuses nothing")
    return Maintenance(
        since_us=since,
        until_us=until,
        announced_us=announced,
        model=form.model,
        zone=form.zone,
        why=form.why,
    )


def _moment_us(where: str, text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        words = f"{text!r} is no moment; write it as 2026-11-25T00:00Z"
        raise SelvedgeError(f"{where}: {words}") from error
    return round(found.replace(tzinfo=found.tzinfo or UTC).timestamp()) * 1_000_000
