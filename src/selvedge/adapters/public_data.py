"""Public traces on this machine: found beside the repository, read as lines.

They are not shipped. A folder `shared/data` beside any folder above the working one is taken, or
the one that is named.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from selvedge.fabric import SelvedgeError

_FOLDER = Path("shared", "data")


class DataMissing(SelvedgeError):
    """A public file is not on this machine; the text says where it was looked for."""


def find_data(named: Path | None = None, start: Path | None = None) -> Path:
    """The folder of public data. Raises `DataMissing`."""
    if named is not None:
        if not named.is_dir():
            raise DataMissing(f"--data {named} is no folder; name one that holds the traces.")
        return named
    here = (start or Path.cwd()).resolve()
    for above in (here, *here.parents):
        if (above / _FOLDER).is_dir():
            return above / _FOLDER
    raise DataMissing(f"no {_FOLDER} in {here} or above it; name the traces' folder with --data.")


def read_lines(folder: Path, name: str) -> list[bytes]:
    """The lines of a file, unpacked where its name ends in ``.gz``. Raises `DataMissing`."""
    path = folder / name
    try:
        packed = path.read_bytes()
        return (gzip.decompress(packed) if path.suffix == ".gz" else packed).splitlines()
    except OSError as error:
        raise DataMissing(f"{path} cannot be read; get the trace, or name --data.") from error
    except EOFError as error:
        raise DataMissing(f"{path} ends too early; get the trace again.") from error
