"""The cache process killed at moments nobody chose: what it said is kept, and workers go on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selvedge.adapters import CacheDown, CacheLink, CacheSettings, Found, Purge, open_store
from selvedge.fabric import StoreFailed
from tests.adapters.test_cache_process import ACME, NOW, STATIC, answer, asked, run, until

PROBE = Path(__file__).with_name("cache_process_probe.py")
WORDS = "the parcel of customer {} is where it was when he asked for it at first"


def start(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(PROBE), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def name(number: int) -> str:
    """A word without digits, which gates would compare."""
    return "".join(chr(97 + int(digit)) for digit in str(number)) + "son"


@pytest.mark.parametrize("kill_after", [1, 5, 23])
def test_killed_while_it_writes(tmp_path: Path, kill_after: int) -> None:
    async def test() -> None:
        process = await asyncio.to_thread(start, tmp_path)
        store = open_store(CacheSettings(tmp_path))
        link = CacheLink(tmp_path / "cache.sock", store, recall_ms_max=20_000)
        link.start()
        said: list[int] = []
        try:
            await until(lambda: link.is_up)

            async def one(number: int) -> None:
                kept = answer(ttl_us=10**17)  # its clock is the real one
                await link.warm(ACME, STATIC, asked(WORDS.format(name(number))), kept)
                said.append(number)
                if len(said) == kill_after:
                    os.kill(process.pid, signal.SIGKILL)

            done = await asyncio.gather(*map(one, range(60)), return_exceptions=True)
            assert all(isinstance(error, StoreFailed) for error in done if error is not None)
            assert len(said) >= kill_after
            await asyncio.to_thread(process.communicate)
            # Workers read on, with nobody there.
            for number in said:
                text = WORDS.format(name(number))
                assert store.get(ACME, asked(text).exact, NOW) is not None
            await until(lambda: not link.is_up)
            with pytest.raises(CacheDown):
                await link.purge(Purge(tenant="acme"), NOW)
            process = await asyncio.to_thread(start, tmp_path)
            await until(lambda: link.is_up)
            # Another reader of the next process: nothing it had said is missing.
            for number in said:
                text = WORDS.format(name(number))
                assert store.get(ACME, asked(text).exact, NOW) is not None

            async def similar(text: str) -> Found | None:
                told: asyncio.Future[Found | None] = asyncio.Future()
                link.recall(ACME, STATIC, asked(text), NOW, told.set_result)
                return await told

            while await similar(WORDS.format(name(said[0]))) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # It is being loaded; the test's bound bounds it.
            await link.purge(Purge(tenant="acme"), NOW)
            for number in said:
                text = WORDS.format(name(number))
                assert store.get(ACME, asked(text).exact, NOW) is None
                assert await similar(text) is None
        finally:
            link.stop()
            store.close()
            process.kill()
            await asyncio.to_thread(process.communicate)

    run(test)
