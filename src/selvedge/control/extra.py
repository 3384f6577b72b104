"""What of the control plane needs more than a PoP does, brought in when it is first asked for.

A PoP, `selvedge up` without a store, and every other command run without the `control` extra.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final, cast

from selvedge.control.home import Home
from selvedge.control.settings import ControlSettings
from selvedge.fabric import Release, SelvedgeError
from selvedge.ledger import PriceBook

NEEDED: Final = ("alembic", "jwt", "psycopg", "sqlalchemy", "starlette", "uvicorn")


def has_control_extra() -> bool:
    """Whether all that it needs is installed."""
    return all(_is_there(name) for name in NEEDED)


def load_part(name: str) -> ModuleType:
    """A module of this package. Raises `SelvedgeError` that says which extra is missing."""
    if not has_control_extra():
        raise SelvedgeError(
            "the control plane needs packages that are not installed; install them with "
            "pip install 'selvedge[control]'"
        )
    return importlib.import_module(f"selvedge.control.{name}")


def seeding_of(home: Path, settings: ControlSettings | None) -> Callable[[Release], Release] | None:
    """What puts the store's rows into a release of a fleet file; None where there is no store.

    A store that is there is always asked, or a release would bring back what it had revoked.
    Raises `SelvedgeError` where that is not possible.
    """
    found = settings or ControlSettings(home=str(home.resolve()))
    if settings is None and not (home / "control.sqlite").exists():
        return None
    made = load_part("seeding").open_seeding(found)
    return cast(Callable[[Release], Release], made)


def publish_prices(
    home: Home, settings: ControlSettings | None, prices: PriceBook
) -> Release | None:
    """Keep a price book, and make the next release at its prices; None before the first release.

    ``settings`` are those of the store's control process; None, or a store that is not there yet:
    the release is made of the one before. Raises `BadPriceBook`, `BadRelease`.
    """
    embedded = (home.directory / "control.sqlite").exists()
    found = settings or ControlSettings(home=str(home.directory.resolve()))
    if home.release() is None or not (embedded or found.database):
        return home.reprice(prices)
    load_part("seeding").publish_prices(found, prices)
    return home.release()


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # somebody hid it
        return False
