"""The door for peers with two workers: one address by mutual TLS, one set of used tickets."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from selvedge.adapters import (
    PEER_FILE,
    check_peer_certificates,
    dialling_context,
    journal_of,
    read_segments,
)
from selvedge.control import free_port
from tests.support import run
from tests.support.wires import Wire
from tests.support.workers import WIRES_MAX, Pop, running_pop


def as_fra(pop: Pop) -> ssl.SSLContext:
    """How `fra` connects, whose identity is on the disk of the test."""
    theirs = check_peer_certificates("certificates", pop.release.pop("sin").certificates)
    return dialling_context(pop.home.pop("fra") / PEER_FILE, theirs)


def attested(pop: Pop, number: int) -> bool:
    directory = journal_of(pop.state_dir, number) / "receipts"
    return any(line.startswith(b"A ") for line in read_segments(directory))


@pytest.mark.fabric
def test_peers_are_served_by_both_and_a_ticket_by_one(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        listen = f"127.0.0.1:{port}"
        async with running_pop(tmp_path, peer_listen=listen, peer_plaintext_loopback=False) as pop:
            context, count = as_fra(pop), 0
            while count < WIRES_MAX and not (attested(pop, 0) and attested(pop, 1)):
                count += 1
                async with Wire.to(port, tls=context) as wire:
                    more = f"selvedge-ticket: {pop.ticket(f'{count:032x}')}\r\n"
                    assert (await wire.ask(None, pop.body, more=more)).status == 200
                    # The very same bytes, and again over a connection of their own.
                    assert (await wire.ask(None, pop.body, more=more)).status == 403
                async with Wire.to(port, tls=context) as wire:
                    assert (await wire.ask(None, pop.body, more=more)).status == 403
            assert attested(pop, 0)
            assert attested(pop, 1)
            shown = await pop.metrics()
            done = 'selvedge_tls_handshakes_total{door="peers",step="done"}'
            assert shown[done] == 2 * count
            assert shown['selvedge_peer_requests_total{ending="complete"}'] == count
            refused = 'selvedge_refusals_without_receipt_total{code="ticket_refused"}'
            assert shown[refused] == 2 * count

    run(main(), 60)
