"""Lists of jurisdictions as files: the one that comes with the package, and an operator's own."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Final

import msgspec
from ruamel.yaml.error import YAMLError

from selvedge.adapters.yaml_text import one_line, read_yaml
from selvedge.fabric import BadRelease
from selvedge.residency import Jurisdictions

_SHIPPED: Final = importlib.resources.files("selvedge.adapters") / "jurisdictions.yaml"
LIST_BYTES_MAX: Final = 4 * 1024 * 1024


def shipped_jurisdictions() -> Jurisdictions:
    """The list that comes with the package."""
    return _read(_SHIPPED.read_text("utf-8"), "jurisdictions.yaml")


def read_jurisdictions(path: Path) -> Jurisdictions:
    """An operator's list. Raises `BadRelease` that names the file, the row and the remedy."""
    return _read(read_beside(path, LIST_BYTES_MAX), str(path))


def read_beside(path: Path, bytes_max: int) -> str:
    """The text of a file that a fleet file names. Raises `BadRelease`."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise BadRelease(str(path), f"exceeds {bytes_max} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise BadRelease(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadRelease(str(path), f"is not UTF-8 at byte {error.start}") from error


def _read(text: str, name: str) -> Jurisdictions:
    try:
        return msgspec.convert(read_yaml(text), Jurisdictions)
    except (YAMLError, msgspec.ValidationError, BadRelease) as error:
        raise BadRelease(name, one_line(error)) from error
