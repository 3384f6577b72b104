"""A collector's directory: one process at a time, by its lock."""

from __future__ import annotations

import os
from pathlib import Path

from selvedge.adapters.journals import keep_whole
from selvedge.adapters.plain_files import PlainFiles


class CollectorFolder:
    """The directory, held until it is closed or the process ends. Raises `StoreFailed`."""

    def __init__(self, directory: Path) -> None:
        self._lock_fd = keep_whole(directory)
        self.files = PlainFiles(directory)

    def close(self) -> None:
        """Let go of it."""
        self.files.close()
        os.close(self._lock_fd)
