"""Which files are meant: those that were named, and those in folders, with links followed.

What cannot be looked into is told, and never passed over.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from selvedge.plan.history import BadPlan

OWN: Final = ("history.json", "samples", "findings", "readings", "unknown")
"""What a history keeps in its folder."""
_PIECE: Final = 1 << 20


def name_of(path: Path) -> str:
    """As findings and records name it: letters that no encoding knows are spelled out."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def expand(paths: Sequence[Path], data: Path, refused: dict[str, str]) -> Iterator[Path]:
    """Files, and those of folders in order of their names; hidden ones are not meant.

    What is of the history itself is none of its sources. `refused` is told the rest.
    """
    own = {data.resolve() / name for name in OWN}
    for path in paths:
        resolved = path.resolve()
        if not own.isdisjoint((resolved, *resolved.parents)):
            refused[name_of(path)] = f"it is of the history {data} itself; name other files."
        elif not path.is_dir():
            yield path
        else:
            before = len(refused)
            found = sorted(_walk(path, own, refused))
            if not found and len(refused) == before:
                refused[name_of(path)] = "it holds no files; name a folder with exports, or files."
            yield from found
    if refused and len(refused) == len(paths) and all(name_of(path) in refused for path in paths):
        raise BadPlan(" ".join(f"{name}: {words}" for name, words in refused.items()))


def _walk(top: Path, own: set[Path], refused: dict[str, str]) -> Iterator[Path]:
    def tell(error: OSError) -> None:
        told = Path(error.filename or top)
        refused[name_of(told)] = f"it cannot be looked into ({error.strerror}); mend its rights."

    seen = set()
    for folder, inner, files in os.walk(top, onerror=tell, followlinks=True):
        here = Path(folder).resolve()
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if here in seen or here in own:  # a link that leads back, or the history itself
            inner.clear()
            continue
        seen.add(here)
        for name in files:
            path = Path(folder, name)
            if name.startswith(".") or here / name in own:
                continue
            if path.is_file() or not path.exists():
                yield path


def digest_of(path: Path, name: str) -> str:
    """Its SHA-256. Raises `BadPlan` for what cannot be read, and read again."""
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadPlan(f"{name} is no file that can be read twice; write it to one.")
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise BadPlan(f"{name} cannot be read ({error.strerror}); name a file.") from error
    return digest.hexdigest()
