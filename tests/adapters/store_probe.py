"""A process of its own beside a test of the answer store: it reads what it is told, or writes."""

from __future__ import annotations

import sys
from pathlib import Path

from selvedge.adapters.answer_store import AnswerStore, Put
from selvedge.adapters.answer_store_records import KeptAnswer
from selvedge.adapters.scope_keys import ScopeKeys
from selvedge.cache import Scope

NOW = 1_700_000_000_000_000
ACME = Scope("acme", "chat", "eu", "p1")


def read(path: Path) -> None:
    """Each line is a request's number and microseconds after `NOW`; says hit or miss."""
    store = AnswerStore(path / "answers", ScopeKeys(path / "keys"))
    for line in sys.stdin:
        number, after_us = map(int, line.split())
        found = store.get(ACME, number.to_bytes(32, "big"), NOW + after_us)
        print("hit" if found else "miss", flush=True)


def write(path: Path) -> None:
    """Keep answers without an end, and say the number of each that was kept."""
    store = AnswerStore(path / "answers", ScopeKeys(path / "keys", writes=True), writes=True)
    number = 0
    while True:
        kept = KeptAnswer("", NOW, 10**12, "small", body=b"x" * (number * 997 % 9000))
        store.put(Put(ACME, number.to_bytes(32, "big"), kept), NOW)
        print(number, flush=True)
        number += 1


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[2]](Path(sys.argv[1]))
