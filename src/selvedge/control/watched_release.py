"""The newest good release in a file that another process replaces."""

from __future__ import annotations

from pathlib import Path

from selvedge.adapters import RELEASE_BYTES_MAX, WatchedFile, open_release
from selvedge.fabric import Release


class WatchedRelease:
    """Only a newer one replaces the one that is held."""

    def __init__(self, path: Path, operator_public_key: str) -> None:
        self._file = WatchedFile(path)
        self._public = operator_public_key
        self.release: Release | None = None

    def look(self) -> bool:
        """Take a newer release; whether there was one. Raises `BadRelease`; the last one stays."""
        if not self._file.changed():
            return False
        data = self._file.read("release", RELEASE_BYTES_MAX)
        found = open_release(data, self._public).release
        if self.release is not None and found.version <= self.release.version:
            return False
        self.release = found
        return True
