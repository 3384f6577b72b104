"""Which release a policy command asks: of a fleet file, of a signed one, or the one serving."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import click

from selvedge.adapters import (
    lists_of,
    open_release,
    read_config,
    shipped_jurisdictions,
    stand_in_release,
)
from selvedge.control import Home, public_key_of
from selvedge.fabric import Release, SelvedgeError
from selvedge.residency import Jurisdictions, close, day_at, day_us

FILE = click.Path(path_type=Path, dir_okay=False)


class Day(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions alone
    """A UTC day."""

    name = "day"

    def convert(self, value: object, param: object, ctx: object) -> date:
        """As 2026-11-22."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError as error:
            words = f"{value!r} is not a UTC day; write 2026-11-22"
            raise click.BadParameter(words) from error


class Placed(NamedTuple):
    """A release, what it is called, and the list that it was made by, where that is known."""

    release: Release
    name: str
    lists: Jurisdictions | None
    remarks: tuple[str, ...] = ()


def today() -> date:
    """The UTC day."""
    return datetime.now(UTC).date()


def place(
    file: Path | None, home: Path, published: date | None = None, *, force: bool = True
) -> Placed:
    """The release of a fleet file as if published on that day (today), of a signed release, or,
    without a file, the one that serves. Raises `SelvedgeError`.
    """
    if file is None:
        return _serving(home)
    try:
        with file.open("rb") as opened:
            head = opened.read(1)
    except OSError as error:
        raise SelvedgeError(f"{file} cannot be read: {error.strerror}") from error
    if head == b"{":
        held = open_release(file.read_bytes(), public_key_of(Home(home)))
        release = held.release
        return Placed(release, f"{file}, release {release.version}", _shipped(release))
    remarks: list[str] = []
    config = read_config(file, force=force)
    made_us = day_us(published or today())
    release = stand_in_release(config, made_us, force=force, remark=remarks.append)
    name = f"{file}, as published on {day_at(made_us)}"
    return Placed(release, name, lists_of(config), tuple(remarks))


def _serving(home: Path) -> Placed:
    release = Home(home).release() if home.is_dir() else None
    if release is None:
        raise SelvedgeError(f"no release serves from {home}; name a fleet file, or another --home")
    return Placed(release, f"the release that serves, {release.version}", _shipped(release))


def _shipped(release: Release) -> Jurisdictions | None:
    lists = shipped_jurisdictions()
    known = release.policy is not None and release.policy.list_version == lists.version
    return lists if known else None


def class_of(release: Release, written: str) -> tuple[str, str]:
    """A class by its name, as ``tenant/class``. Raises `SelvedgeError`."""
    names = {
        f"{tenant.id}/{one.id}": (tenant.id, one.id)
        for tenant in release.tenants
        for one in tenant.classes
    }
    if written not in names:
        words = f"{written!r} is no data class; it is written TENANT/CLASS"
        raise SelvedgeError(words + close(written, names))
    return names[written]


def site_of(release: Release, written: str) -> str:
    """A PoP or a provider by its id. Raises `SelvedgeError`."""
    sites = [one.id for one in release.sites]
    if written not in sites:
        raise SelvedgeError(f"{written!r} is no site of the fleet{close(written, sites)}")
    return written
