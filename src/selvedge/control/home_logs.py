"""Logs of jurisdictions and a witness on one machine: their keys and folders in a home."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from selvedge.adapters import (
    FleetConfig,
    keep_log_keys,
    keep_secret,
    named_logs,
    operator_public_key,
)
from selvedge.control.home import Home
from selvedge.control.witness import KEY_FILE
from selvedge.fabric import JurisdictionLog, Witness
from selvedge.tlog import COSIGNATURE, Signer

JURISDICTIONS: Final = "jurisdictions"
WITNESSES: Final = "witnesses"
LOCAL_LOG: Final = "local"
LOCAL_WITNESS: Final = "witness.selvedge.invalid/local"

Commands = list[tuple[str, list[str], str]]
"""Of each process: its name, its command line, and the URL that answers when it is ready."""


def log_directory(home: Home, log_id: str) -> Path:
    """A jurisdiction log's own directory."""
    return home.directory / JURISDICTIONS / log_id


def witness_directory(home: Home, name: str = "local") -> Path:
    """A witness's own directory."""
    return home.directory / WITNESSES / name


def written_logs(home: Home, config: FleetConfig) -> tuple[JurisdictionLog, ...]:
    """The logs that a fleet file names: by the keys in the home, where it names none."""
    keys = {
        name: tuple(keep_log_keys(log_directory(home, name)))
        for name, one in config.logs.items()
        if not one.public_keys
    }
    return named_logs(config.logs, keys)


def plan_logs(
    home: Home, config: FleetConfig, new_port: Callable[[], int]
) -> tuple[JurisdictionLog, ...]:
    """One log for all PoPs of a fleet that names none, with one witness: for one machine."""
    if config.logs:
        return written_logs(home, config)
    countries = tuple(sorted({pop.country for pop in config.pops.values()}))
    seed = keep_secret(witness_directory(home) / KEY_FILE, os.urandom(32))
    key = Signer(LOCAL_WITNESS, seed, COSIGNATURE).verifier.text
    witness = Witness(key, f"http://127.0.0.1:{new_port()}")
    keys = tuple(keep_log_keys(log_directory(home, LOCAL_LOG)))
    url = f"http://127.0.0.1:{new_port()}"
    return (JurisdictionLog(LOCAL_LOG, countries, url, keys, (witness,), 1),)


def log_commands(home: Home, logs: tuple[JurisdictionLog, ...]) -> Commands:
    """The processes of these logs, and of the local witness where one names it."""
    public = operator_public_key(home.operator_key())
    release = str(home.release_file.resolve())
    found: Commands = []
    base = [sys.executable, "-m", "selvedge"]
    shared = ["--release-file", release, "--operator-public-key", public]
    witnesses = {one.url for each in logs for one in each.witnesses if one.name == LOCAL_WITNESS}
    for url in sorted(witnesses):
        argv = [*base, "witness", "run", "--name", LOCAL_WITNESS, *shared]
        argv += ["--listen", url.removeprefix("http://")]
        argv += ["--directory", str(witness_directory(home).resolve())]
        found.append(("witness", argv, f"{url}/healthz"))
    for one in logs:
        argv = [*base, "log", "run", "--log", one.id, *shared]
        argv += ["--listen", one.url.removeprefix("http://")]
        argv += ["--directory", str(log_directory(home, one.id).resolve())]
        found.append((f"log {one.id}", argv, f"{one.url}/healthz"))
    return found


def log_folders(home: Home) -> dict[str, Path]:
    """Every log that lies in this home: ``pop/<id>`` and ``jurisdiction/<id>`` -> its folder."""
    pops = {f"pop/{one.parent.name}": one for one in home.directory.glob("pops/*/log")}
    root = home.directory / JURISDICTIONS
    own = {f"jurisdiction/{one.name}": one for one in root.glob("*") if one.is_dir()}
    return dict(sorted({**pops, **own}.items()))
