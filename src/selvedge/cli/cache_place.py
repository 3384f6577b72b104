"""Where a PoP's cache is on this machine, and the way to its process for a command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
import msgspec

from selvedge.adapters import CacheLink, CacheSettings, SignedRelease, open_store
from selvedge.cache import Scope
from selvedge.control import DEFAULT_HOME
from selvedge.exchange import prefix_scope
from selvedge.fabric import CacheRule, Refused, Release, SelvedgeError, StoreFailed
from selvedge.pop import CACHE_FOLDER
from selvedge.residency import Rules

LOOK_S: Final = 0.02
LOOKS_MAX: Final = 150
"""For so long a command waits for the process."""
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])  # Any: whatever options a command has


class Place(NamedTuple):
    """One PoP on this machine."""

    pop: str
    state_dir: Path

    @property
    def settings(self) -> CacheSettings:
        """Where its cache lives."""
        return CacheSettings(self.state_dir.absolute() / CACHE_FOLDER)

    def release(self) -> Release:
        """The release that it keeps. Raises `SelvedgeError`."""
        path = self.state_dir / "release" / "release.json"
        try:
            signed = msgspec.json.decode(path.read_bytes(), type=SignedRelease)
            return msgspec.json.decode(signed.release, type=Release)
        except OSError as error:
            words = f"{path} cannot be read: {error.strerror}; has this PoP taken a release?"
            raise SelvedgeError(words) from error
        except msgspec.MsgspecError as error:
            raise SelvedgeError(f"{path} is no release: {error}") from error


def place_options(command: F) -> F:
    """``--home``, ``--pop`` and ``--state-dir``."""
    for option in (
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="The PoP's state_dir, where it is not under a home; needs --pop.",
        ),
        click.option("--pop", "pop_id", help="Which PoP, where there are several."),
        click.option(
            "--home",
            type=click.Path(path_type=Path, file_okay=False),
            default=DEFAULT_HOME,
            envvar="SELVEDGE_HOME",
            show_default=True,
            help="Directory of the fabric's files.",
        ),
    ):
        command = option(command)
    return command


def places(home: Path, pop_id: str | None, state_dir: Path | None) -> list[Place]:
    """The PoPs that have a cache, or the one that is named. Raises `SelvedgeError`."""
    if state_dir is not None:
        if pop_id is None:
            raise SelvedgeError("--state-dir needs --pop, the PoP's id in the release")
        return [Place(pop_id, state_dir)]
    found = [Place(one.name, one) for one in sorted((home / "pops").glob("*")) if one.is_dir()]
    if pop_id is not None:
        found = [one for one in found if one.pop == pop_id]
    kept = [one for one in found if one.settings.directory.is_dir()]
    if not kept:
        which = f"PoP {pop_id!r}" if pop_id else "No PoP"
        words = f"{which} under {home} has a cache; give a data class 'cache' and start the fabric"
        raise SelvedgeError(words if pop_id is None else words.replace(" has a", " has no"))
    return kept


def one_place(home: Path, pop_id: str | None, state_dir: Path | None) -> Place:
    """The same where it has to be one."""
    found = places(home, pop_id, state_dir)
    if len(found) > 1:
        names = ", ".join(one.pop for one in found)
        raise SelvedgeError(f"several PoPs have a cache: {names}; name one by --pop")
    return found[0]


def ask(place: Place, act: Callable[[CacheLink], Awaitable[T]]) -> T:
    """Ask a PoP's cache process something. Raises `StoreFailed`."""
    return asyncio.run(_ask(place, act))


async def _ask(place: Place, act: Callable[[CacheLink], Awaitable[T]]) -> T:
    link = CacheLink(place.settings.socket, open_store(place.settings))
    link.start()
    try:
        for _ in range(LOOKS_MAX):
            if link.is_up:
                break
            await asyncio.sleep(LOOK_S)
        else:
            words = f"the cache of PoP {place.pop} does not answer on {place.settings.socket}; "
            raise StoreFailed(words + "is the PoP running, and has a class of it 'cache'?")
        return await act(link)
    finally:
        link.stop()


class Class(NamedTuple):
    """A data class with a cache, as this PoP sees it."""

    scope: Scope
    rule: CacheRule
    release: Release


def class_of(place: Place, tenant: str, data_class: str, zones: tuple[str, ...] = ()) -> Class:
    """Scope and rule of a class at this PoP. Raises `SelvedgeError` where nothing is kept."""
    release = place.release()
    rules = Rules(release)
    now_us = time.time_ns() // 1000
    allowed = rules.allowed(tenant, data_class, place.pop, now_us, zones)
    if isinstance(allowed, Refused):
        raise SelvedgeError(allowed.message)
    rule, name = allowed.rule, f"{tenant}/{data_class}"
    if rule.caching is None:
        raise SelvedgeError(f"class {name} has no cache; give it 'cache' in the fleet file")
    if not rules.holds(rule.cache, place.pop):
        raise SelvedgeError(f"PoP {place.pop} may keep nothing of class {name}: it is in transit")
    scope = Scope(tenant, data_class, prefix_scope(rule), rule.policy or "")
    return Class(scope, rule.caching, release)
