"""Instructions a request of a PoP, counted by callgrind (valgrind): the same on a busy machine.

Microseconds on a shared host move by a half with the neighbours; instructions do not. Two runs of
different lengths, one after the other on one connection: their difference is the requests', start
and stop fall out. What runs by the clock (the log's turns, metrics) is in it, for as long as the
slower runs take: a few per cent. Kernel time is not counted.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from bench import one_pop
from bench.figures import OUT, circumstances
from bench.overload import build

TENANT: Final = "warp"
_ROW: Final = re.compile(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+(\S+)")
_OURS: Final = re.compile(r"CPyDef_(.+)")
BODY_CHARS: Final = 420


def _request(key: str, port: int) -> bytes:
    body = json.dumps(
        {"model": one_pop.MODEL, "messages": [{"role": "user", "content": "x" * BODY_CHARS}]}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _ask(port: int, request: bytes, count: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rb") as answers:
        for _ in range(count):
            client.sendall(request)
            status = answers.readline()
            if b" 200 " not in status:
                raise click.ClickException(f"the PoP answered {status.decode()!r}")
            size = 0
            while (line := answers.readline().strip().lower()) != b"":
                name, _, value = line.partition(b":")
                size = int(value) if name == b"content-length" else size
            answers.read(size)


async def _counted(count: int, directory: Path) -> Path:
    """A run of ``count`` requests: where callgrind has written it."""
    out = directory / f"callgrind.{count}"
    under = (
        shutil.which("valgrind") or "",
        "--tool=callgrind",
        f"--callgrind-out-file={out}",
        "--quiet",
    )
    home = directory / f"home-{count}"
    pop = one_pop.OnePop(home, build("mock"), (TENANT,), under=under)
    await pop.start()
    try:
        await asyncio.to_thread(_ask, pop.port, _request(pop.keys[TENANT], pop.port), count)
    finally:
        await pop.stop()
    return out


def _read(path: Path) -> Mapping[str, int]:
    """Instructions by function, with those it calls; PROGRAM is all."""
    argv = ["callgrind_annotate", "--threshold=100", "--inclusive=yes", str(path)]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found: dict[str, int] = {}
    for row in filter(None, map(_ROW.match, text.splitlines())):
        name = row[2].rpartition(":")[2]
        found[name] = max(found.get(name, 0), int(row[1].replace(",", "")))
    return found


@click.command()
@click.option("--count", default=1000, show_default=True, help="Requests of the longer run, less.")
@click.option("--rows", default=30, show_default=True, help="Functions of ours shown.")
def main(count: int, rows: int) -> None:
    """Instructions a request, and by function with what it calls (compiled modules alone)."""
    if shutil.which("valgrind") is None:
        raise click.ClickException("this needs valgrind: apt-get install valgrind")
    base = 100
    with tempfile.TemporaryDirectory() as directory:
        runs = [asyncio.run(_counted(one, Path(directory))) for one in (base, base + count)]
        short, long = map(_read, runs)
    each = {name: (long[name] - short.get(name, 0)) / count for name in long}
    total = round(each.pop("PROGRAM"))
    ours = {found[1]: each[name] for name in each if (found := _OURS.match(name))}
    table = Table("function", "instructions, with what it calls")
    for name, cost in sorted(ours.items(), key=lambda one: -one[1])[:rows]:
        table.add_row(name, f"{cost:,.0f}")
    console = Console()
    console.print(table)
    console.print(f"instructions a request: [bold]{total:,}[/bold]")
    OUT.mkdir(exist_ok=True)
    figures = {"instructions_per_request": total, **circumstances()}
    by_function = {name: round(cost) for name, cost in ours.items() if cost >= 100}
    (OUT / "instructions.json").write_text(
        json.dumps({**figures, "by_function": by_function}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
