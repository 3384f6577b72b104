"""Two files beside a log by which its process and the operator tell each other something: why it is
closed, and that a new shard is asked for. What is true of the log is in its state alone.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

RESHARD_FILE: Final = "reshard"
CLOSED_FILE: Final = "closed"


def mark_closed(folder: Path, why: str | None) -> None:
    """Say why the log in ``folder`` signs nothing; None: it does. Best effort."""
    with contextlib.suppress(OSError):
        if why is None:
            (folder / CLOSED_FILE).unlink(missing_ok=True)
        else:
            (folder / CLOSED_FILE).write_text(f"{why}\n", encoding="utf-8")


def closed_why(folder: Path) -> str | None:
    """Why the log's process has closed it; None: it has not."""
    try:
        return (folder / CLOSED_FILE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
