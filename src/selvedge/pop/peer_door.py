"""The listener for peers: mutual TLS 1.3, requests with a ticket, sealed questions, nothing else.

Clients and peers come in by doors of their own. Here a connection has shown a certificate of the
serving release before a byte of it is read as HTTP, and the story compares that certificate's PoP
with the ticket's ingress.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from selvedge.adapters import Cell
from selvedge.fabric import Refused, SelvedgeError
from selvedge.pop.app import App
from selvedge.pop.hearing import REPORT_TARGET
from selvedge.pop.http_server import Inbound, Server, start_server
from selvedge.pop.interpreter import TICKET_HEADER
from selvedge.pop.limits import server_settings
from selvedge.pop.settings import host_and_port
from selvedge.pop.state import PopState

_NOT_A_PEER: Final = Refused(
    "ticket_refused", "This address takes requests of PoPs, with a ticket; clients have another."
)


class PeerApp(App):
    """The handler behind the door for peers."""

    def __init__(self, state: PopState) -> None:
        super().__init__(state, takes_tickets=True)

    def handle(self, inbound: Inbound) -> None:
        """Serve what has a ticket; pages and clients are elsewhere."""
        target = inbound.head.target
        if target == REPORT_TARGET:
            self._report(inbound)
            return
        if TICKET_HEADER in inbound.head.headers and target in self._work:
            super().handle(inbound)
            return
        self._state.tally(_NOT_A_PEER.code)
        self._refuse(inbound, _NOT_A_PEER)
        inbound.settle()


async def listen_for_peers(
    state: PopState,
    on_error: Callable[[BaseException], None],
    *,
    sock: socket.socket | None = None,
    counted: Cell | None = None,
) -> Server | None:
    """Open the door for peers, or take its socket; None where the settings name none."""
    settings = state.settings
    if settings.peer_listen is None:
        return None
    host, port = host_and_port(settings.peer_listen)
    handshakes = state.metrics.tls.handshakes
    try:
        server = await start_server(
            PeerApp(state).handle,
            host,
            port,
            settings=server_settings(settings),
            on_error=on_error,
            sock=sock,
            counted=counted,
            tls=state.peering.listener(handshakes.labels("peers", "begun").inc),
        )
    except OSError as error:
        raise SelvedgeError(
            f"PoP {settings.pop} cannot listen on {settings.peer_listen}: {error.strerror}; "
            "stop what uses it or change 'peer_listen'"
        ) from error
    server.on_secured = handshakes.labels("peers", "done").inc
    return server
