"""slowhttptest against a real PoP: slow heads, bodies and reading; and a good client's p99."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping

from bench.attack_fronts import find
from bench.attack_stage import PATH, Good, Stage, ask_on
from bench.figures import Figures

CONNECTIONS = 300
SECONDS = 16
RUN_S_MAX = SECONDS + 20
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ROW = re.compile(r"(closed|error|connected|pending|service available):\s+(\S+)")

# What each adds to the common options. slowhttptest cannot send a key but inside another header.
KINDS: Mapping[str, tuple[str, ...]] = {
    "slow head": ("-H", "-i", "5", "-t", "POST"),
    "slow body": ("-B", "-i", "2", "-s", "8192", "-t", "POST", "-f", "application/json"),
    "slow read": ("-X", "-w", "8", "-y", "16", "-n", "5", "-z", "8", "-k", "3"),
}


async def attack_slowly(at: Stage) -> dict[str, Figures]:
    """Every kind in turn, a good client asking meanwhile; first it asks alone."""
    good = await _meanwhile(at, asyncio.sleep(2.0))
    found: dict[str, Figures] = {"nothing": _figures(at, good, {})}
    for kind, options in KINDS.items():
        good = Good()
        told: dict[str, str] = {}
        good = await _meanwhile(at, _run(at, options, told))
        found[kind] = _figures(at, good, told)
    return found


async def _meanwhile(at: Stage, attack: object) -> Good:
    good = Good()
    asking = asyncio.create_task(ask_on(at, good))
    try:
        await attack  # type: ignore[misc]
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    return good


async def _run(at: Stage, options: tuple[str, ...], told: dict[str, str]) -> None:
    """One run; what its last status said goes into `told`."""
    reads = "-X" in options
    url = f"http://127.0.0.1:{at.port}" + ("/openapi.json" if reads else PATH)
    common = ["-c", str(CONNECTIONS), "-r", "200", "-l", str(SECONDS), "-p", "3", "-u", url]
    key = [] if reads else ["-m", f"*/*\r\nAuthorization: Bearer {at.key}"]
    process = await asyncio.create_subprocess_exec(
        *(find("slowhttptest") or "slowhttptest", *options, *common, *key),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_S_MAX):
            text, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    words = _ANSI.sub("", text.decode(errors="replace"))
    told.update(_ROW.findall(words))
    if "No open connections left" in words:  # it ends then, without another status
        told.update(closed=str(CONNECTIONS), connected="0")


def _figures(at: Stage, good: Good, told: Mapping[str, str]) -> Figures:
    return {
        "asked": len(good.ms),
        "failed": good.failed,
        "p50_ms": good.p(0.5),
        "p99_ms": good.p(0.99),
        "rss_mb_max": round(good.rss_kb_max / 1024, 1),
        "closed": int(told.get("closed", 0)),
        "still_open": int(told.get("connected", 0)),
        "available": told.get("service available", "YES"),
        "faults": at.faults(),
    }
