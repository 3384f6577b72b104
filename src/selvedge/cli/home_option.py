"""The options by which commands find a fabric, and receipts, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from selvedge.control import DEFAULT_HOME

F = TypeVar("F", bound=Callable[..., None])


def home_option(command: F) -> F:
    """``--home DIR``, or SELVEDGE_HOME."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_HOME,
        envvar="SELVEDGE_HOME",
        show_default=True,
        help="Directory of the fabric's files.",
    )(command)


def collected_option(command: F) -> F:
    """``--collected DIR``, as often as there are collectors."""
    return click.option(
        "--collected",
        multiple=True,
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="A collector's directory; may be repeated. Default: the journals under --home.",
    )(command)


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
