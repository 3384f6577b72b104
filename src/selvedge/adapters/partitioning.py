"""A process of its own that writes one segment's partitions: ``python -m`` DIRECTORY SEGMENT.

The collector answers PoPs meanwhile, and nothing of its memory is held by DuckDB.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from selvedge.adapters.partitions import write_partitions
from selvedge.adapters.processes import die_with_parent
from selvedge.fabric import SelvedgeError

NICE = 5


def main(argv: list[str]) -> int:
    """The exit code."""
    die_with_parent()
    os.nice(NICE)
    os.umask(0o077)  # as the log: receipts are for their owner
    directory, segment = argv
    try:
        write_partitions(Path(directory), int(segment))
    except SelvedgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
