"""The emulated WAN links of one machine, as values and as the JSON that `wan_link` is given.

It refuses to know sockets: it says what a link is, and which specs are none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from selvedge.fabric import SelvedgeError

READY = "selvedge wan link: ready"
"""The line that the process says when every link listens."""

RTT_MS_MAX = 10_000


class BadLinks(SelvedgeError):
    """A spec that cannot be served; the text is one sentence that names the link."""


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of dialling: who connects to `listen_port` here reaches the target."""

    name: str
    listen_port: int
    target_host: str
    target_port: int
    rtt_ms: float

    def __post_init__(self) -> None:
        for field, kinds in _FIELDS.items():
            value = getattr(self, field)
            if not isinstance(value, kinds) or isinstance(value, bool) or value == "":
                raise BadLinks(f"link {self.name!r}: {field} is {value!r}")
        for field in ("listen_port", "target_port"):
            if not 1 <= getattr(self, field) <= 65_535:
                raise BadLinks(f"link {self.name!r}: {field} must be from 1 to 65535")
        if not 0 <= self.rtt_ms <= RTT_MS_MAX:
            raise BadLinks(f"link {self.name!r}: rtt_ms must be from 0 to {RTT_MS_MAX}")


_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "listen_port": (int,),
    "target_host": (str,),
    "target_port": (int,),
    "rtt_ms": (int, float),
}


def render_links(links: tuple[Link, ...]) -> bytes:
    """The spec that `parse_links` reads."""
    return json.dumps([asdict(link) for link in links], indent=2).encode()


def parse_links(text: bytes) -> tuple[Link, ...]:
    """Links from a spec; every field is required and no other is known. Raises BadLinks."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadLinks(f"the spec is not JSON: {error}") from error
    if not isinstance(found, list):
        raise BadLinks("the spec is not a list of links")
    links = tuple(_parse_link(entry) for entry in found)
    ports = [link.listen_port for link in links]
    for link in links:
        if ports.count(link.listen_port) > 1:
            raise BadLinks(f"link {link.name!r}: listen_port {link.listen_port} is there twice")
    return links


def _parse_link(entry: object) -> Link:
    if not isinstance(entry, dict):
        raise BadLinks(f"{entry!r} is not a link")
    wrong = sorted(_FIELDS.keys() ^ entry.keys())
    if wrong:
        state = "missing" if wrong[0] in _FIELDS else "unknown"
        raise BadLinks(f"link {entry.get('name')!r}: {wrong[0]} is {state}")
    return Link(**entry)
