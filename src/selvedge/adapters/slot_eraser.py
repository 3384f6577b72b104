"""Erases what the embedded engine's slots hold of prompts, as soon as they are idle.

llama.cpp keeps the attention cache of a slot's last prompt until another takes the slot, and where
that begins alike it is used again. Where nothing may be kept the slots are watched, and those that
have answered are emptied. It refuses to know prompts: it sees numbers of slots and of tasks alone.
"""

from __future__ import annotations

import os
import threading
import urllib.request
from typing import Final

import msgspec

LOOK_S: Final = 0.1
ANSWER_S_MAX: Final = 3600.0
"""A slot that has taken another prompt meanwhile is erased when that one is answered."""
NO_FILES: Final = "/dev/null/"
"""Where slots would be saved: nothing can be written there, but without a path llama.cpp refuses to
erase them too.
"""


class _Slot(msgspec.Struct, frozen=True):
    """What is read of a slot."""

    id: int
    is_processing: bool
    id_task: int = -1


class SlotEraser:
    """One per engine process, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._erased: dict[int, int] = {}
        self._decode = msgspec.json.Decoder(list[_Slot]).decode

    def start(self) -> None:
        """Watch until the process ends. What cannot be erased any more ends it."""
        threading.Thread(target=self._watch, name="slots", daemon=True).start()

    def look(self) -> list[int]:
        """Erase the slots that have answered since the last look; which those were."""
        found = []
        for slot in self._decode(self._ask("/slots")):
            if slot.is_processing or slot.id_task in (-1, self._erased.get(slot.id)):
                continue
            self._ask(f"/slots/{slot.id}?action=erase", b"{}")
            self._erased[slot.id] = slot.id_task
            found.append(slot.id)
        return found

    def _watch(self) -> None:
        waiting = threading.Event()
        try:
            while not waiting.wait(LOOK_S):
                self.look()
        finally:
            os._exit(1)

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self._url + path, body)
        with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
            told: bytes = answer.read()
        return told
