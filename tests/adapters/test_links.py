"""Specs of links: read whole, or refused with the link and the field named."""

from __future__ import annotations

import json

import pytest

from selvedge.adapters.links import BadLinks, Link, parse_links, render_links

ENTRY = {
    "name": "sg-jkt",
    "listen_port": 9101,
    "target_host": "127.0.0.1",
    "target_port": 9201,
    "rtt_ms": 15.2,
}


def test_a_spec_is_read() -> None:
    assert parse_links(json.dumps([ENTRY]).encode()) == (
        Link("sg-jkt", 9101, "127.0.0.1", 9201, 15.2),
    )


def test_what_is_rendered_is_read_again() -> None:
    links = (Link("a", 1, "h", 2, 0.5), Link("b", 2, "h", 1, 0))
    assert parse_links(render_links(links)) == links


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("{}", "not a list"),
        ("[1]", "1 is not a link"),
        (json.dumps([{**ENTRY, "loss": 1}]), "'sg-jkt': loss is unknown"),
        (json.dumps([{"name": "x"}]), "'x': listen_port is missing"),
        (json.dumps([ENTRY, ENTRY]), "listen_port 9101 is there twice"),
        (json.dumps([{**ENTRY, "rtt_ms": -1}]), "rtt_ms must be"),
        (json.dumps([{**ENTRY, "rtt_ms": True}]), "rtt_ms is True"),
        (json.dumps([{**ENTRY, "rtt_ms": float("nan")}]), "rtt_ms must be"),
        (json.dumps([{**ENTRY, "listen_port": 0}]), "listen_port must be"),
        (json.dumps([{**ENTRY, "target_port": "80"}]), "target_port is '80'"),
        (json.dumps([{**ENTRY, "target_host": ""}]), "target_host is ''"),
    ],
)
def test_a_wrong_spec_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadLinks, match=says):
        parse_links(text.encode())
