"""Collectors of a fleet on one machine: one for each zone, beside the PoPs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from selvedge.adapters import FleetConfig, keep_secret, operator_public_key, pop_public_key
from selvedge.control.home import Home
from selvedge.fabric import Collector

COLLECTORS: Final = "collectors"
_KEY: Final = "collector.key"


def collector_directory(home: Home, zone: str) -> Path:
    """A collector's own directory."""
    return home.directory / COLLECTORS / zone


def collector_directories(home: Home) -> list[Path]:
    """Those of all collectors that ever ran from here."""
    return sorted(one for one in (home.directory / COLLECTORS).glob("*") if one.is_dir())


def plan_collectors(
    home: Home, config: FleetConfig, new_port: Callable[[], int]
) -> tuple[Collector, ...]:
    """A collector for each zone, with a key of its own, made on first use."""
    found = []
    for zone in config.zones:
        url = f"http://127.0.0.1:{new_port()}"
        found.append(Collector(zone, url, pop_public_key(_key(home, zone))))
    return tuple(found)


def written_collectors(home: Home, config: FleetConfig) -> tuple[Collector, ...]:
    """The collectors that a fleet file names: by the keys in the home, where it names none."""
    return tuple(
        Collector(zone, one.url, one.public_key or pop_public_key(_key(home, zone)))
        for zone, one in config.collectors.items()
    )


def collector_key_file(home: Home, zone: str) -> Path:
    """The private key of a zone's collector, where it was made here."""
    return collector_directory(home, zone) / _KEY


def _key(home: Home, zone: str) -> bytes:
    return keep_secret(collector_key_file(home, zone), os.urandom(32))


def collector_commands(
    home: Home, collectors: tuple[Collector, ...]
) -> list[tuple[str, list[str], str]]:
    """Of each collector: its name, its command line, and the URL that answers when it is ready."""
    public = operator_public_key(home.operator_key())
    found = []
    for one in collectors:
        directory = collector_directory(home, one.zone).resolve()
        argv = [sys.executable, "-m", "selvedge", "collector", "--zone", one.zone]
        argv += ["--listen", one.url.removeprefix("http://"), "--directory", str(directory)]
        argv += ["--release-file", str(home.release_file.resolve())]
        argv += ["--operator-public-key", public, "--key-file", str(directory / _KEY)]
        found.append((f"collector {one.zone}", argv, f"{one.url}/healthz"))
    return found
