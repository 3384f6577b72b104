"""The cache process in a process of its own, to be killed by a test; it says when it listens."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from selvedge.adapters import CacheSettings, run_cache
from tests.adapters.bag_of_words import BagOfWords


async def main(directory: Path) -> None:
    """Run until it is killed, or its input ends."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), stopping.set)
    settings = CacheSettings(directory)
    await run_cache(settings, BagOfWords, stopping, lambda _: print("ready", flush=True))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
