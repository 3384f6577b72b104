"""``selvedge doctor``: what this machine lacks, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import sys
from pathlib import Path

import click
import msgspec
from rich.table import Table

from selvedge.adapters import BUNDLED, ModelUnavailable, default_cache_dir, model_path
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.tables import console

DISK_BYTES_MIN = 500_000_000
MEMORY_BYTES_MIN = 2_000_000_000
FILES_MIN = 1024


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at; ``remedy`` is empty where it is well."""

    what: str
    found: str
    remedy: str = ""


@click.command()
@home_option
@json_option
def doctor(home: Path, as_json: bool) -> None:
    """Check Python, packages, weights, disk, memory; exit code 1 if something is missing."""
    findings = [
        _python(),
        _venv(),
        *(_package(name) for name in ("uvloop", "httptools", "msgspec", "xllamacpp", "gguf")),
        *(_weights(name) for name in BUNDLED),
        _disk(home),
        _memory(),
        _open_files(),
    ]
    if as_json:
        click.echo(msgspec.json.encode(findings))
    else:
        _print(findings)
    if any(one.remedy for one in findings):
        sys.exit(1)


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in findings:
        sign = "[red]✗[/red]" if one.remedy else "[green]✓[/green]"
        table.add_row(sign, one.what, one.found, one.remedy)
    console().print(table)


def _python() -> Finding:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    return Finding("Python", version, "" if good else "install Python 3.11 or newer")


def _venv() -> Finding:
    there = importlib.util.find_spec("ensurepip") is not None
    remedy = "" if there else "sudo apt-get install python3-venv"
    return Finding("python3-venv", "present" if there else "missing", remedy)


def _package(name: str) -> Finding:
    there = importlib.util.find_spec(name) is not None
    return Finding(name, "present" if there else "missing", "" if there else "make setup")


def _weights(name: str) -> Finding:
    try:
        path = model_path(name, default_cache_dir())
    except ModelUnavailable as error:
        return Finding(name, str(error), "make setup")
    return Finding(name, f"{path.stat().st_size // 1_000_000} MB of weights")


def _disk(home: Path) -> Finding:
    where = home if home.is_dir() else Path()
    free = shutil.disk_usage(where).free
    remedy = "" if free >= DISK_BYTES_MIN else f"free {DISK_BYTES_MIN // 1_000_000} MB"
    return Finding("disk", f"{free // 1_000_000:,} MB free", remedy)


def _memory() -> Finding:
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    remedy = "" if size >= MEMORY_BYTES_MIN else "the example fleet needs 2 GB"
    return Finding("memory", f"{size // 1_000_000:,} MB", remedy)


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Finding("open files", str(soft), "" if soft >= FILES_MIN else "ulimit -n 65536")
