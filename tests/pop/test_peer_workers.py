"""The door for peers where a PoP has several workers: one address, one memory of tickets."""

from __future__ import annotations

import signal
from pathlib import Path

from selvedge.adapters import (
    PEER_FILE,
    check_peer_certificates,
    dialling_context,
    peer_certificates,
)
from selvedge.control import free_port
from tests.support import Script, run
from tests.support.wires import Wire
from tests.support.workers import POP, Pop, running_pop


def test_every_worker_takes_peers_and_a_roll_refuses_none(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        settings = {"peer_listen": f"127.0.0.1:{port}", "peer_plaintext_loopback": False}
        async with running_pop(tmp_path, Script(), **settings) as pop:
            for number in range(6):  # the kernel gives them to either worker
                written = pop.ticket(f"{number:032x}")
                assert await forward(pop, port, written) == 200
                assert await forward(pop, port, written) == 403
            before = pids(pop)
            pop.signal(signal.SIGHUP)
            number = 100
            while before & pids(pop):
                number += 1
                assert await forward(pop, port, pop.ticket(f"{number:032x}")) == 200

    def pids(pop: Pop) -> set[int]:
        children = Path(f"/proc/{pop.pid}/task/{pop.pid}/children").read_text()
        return {int(one) for one in children.split()}

    run(main(), 90)


async def forward(pop: Pop, port: int, written: str) -> int:
    """Frankfurt asks, on a connection of its own."""
    trusted = check_peer_certificates("", peer_certificates(pop.home.pop(POP)))
    context = dialling_context(pop.home.pop("fra") / PEER_FILE, trusted)
    async with Wire.to(port, tls=context) as wire:
        more = f"selvedge-ticket: {written}\r\n"
        return (await wire.ask(None, pop.body, more=more)).status
