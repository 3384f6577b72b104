"""What an engine says of its load, where it says anything: llama.cpp's slots, Prometheus metrics.

Which of them a kind of engine has, and under which names, is in its profile. What cannot be read
says nothing: a load that is not known is not an error of any request.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from selvedge.wire.profiles import Profile

COUNT_MAX: Final = 1_000_000


class EngineLoad(msgspec.Struct, frozen=True):
    """An engine's word. None where it says nothing of it; ``room_tokens`` is its KV memory's."""

    running: int
    waiting: int = 0
    slots: int | None = None
    kv_free: float | None = None
    room_tokens: int | None = None


class _Slot(msgspec.Struct):
    """One of llama.cpp's slots, as far as it is looked at."""

    is_processing: bool = False
    n_ctx: int = 0


_slots_decoder: Final = msgspec.json.Decoder(list[_Slot])
_SAMPLE: Final = rb"^%s(\{[^}\n]*\})? +([0-9.eE+-]+) *$"
_LABEL: Final = r'[{,] *%s="([0-9]+)"'


def read_load(profile: Profile, body: bytes) -> EngineLoad | None:
    """The answer of a ``load_path``, or None where it cannot be read."""
    return _read_metrics(profile, body) if profile.load_names else _read_slots(body)


def _read_slots(body: bytes) -> EngineLoad | None:
    try:
        slots = _slots_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not slots:
        return None
    running = sum(1 for one in slots if one.is_processing)
    room = sum(max(0, one.n_ctx) for one in slots)
    return EngineLoad(running, slots=len(slots), room_tokens=room or None)


def _read_metrics(profile: Profile, body: bytes) -> EngineLoad | None:
    names = profile.load_names
    running = _sum(body, names.get("running", ()))
    if running is None:
        return None
    used = _most(body, names.get("kv_used", ()))
    return EngineLoad(
        running=running,
        waiting=_sum(body, names.get("waiting", ())) or 0,
        kv_free=None if used is None else 1 - min(max(used, 0.0), 1.0),
        room_tokens=_room(body, names.get("cache_config", ())),
    )


def _values(body: bytes, names: tuple[str, ...]) -> list[float]:
    """Of the first of these names that is there: one value for each of its series."""
    for name in names:
        found = []
        for one in re.finditer(_SAMPLE % re.escape(name).encode(), body, re.MULTILINE):
            try:
                found.append(float(one[2]))
            except ValueError:
                continue
        if found:
            return found
    return []


def _sum(body: bytes, names: tuple[str, ...]) -> int | None:
    found = _values(body, names)
    if not found:
        return None
    return int(min(max(sum(found), 0.0), COUNT_MAX))


def _most(body: bytes, names: tuple[str, ...]) -> float | None:
    found = _values(body, names)
    return max(found) if found else None


def _room(body: bytes, names: tuple[str, ...]) -> int | None:
    """Tokens of KV memory, by the labels of a metric that describes it."""
    for name in names:
        for one in re.finditer(_SAMPLE % re.escape(name).encode(), body, re.MULTILINE):
            labels = (one[1] or b"").decode("utf-8", "replace")
            size = re.search(_LABEL % "block_size", labels)
            count = re.search(_LABEL % "num_gpu_blocks", labels)
            if size and count:
                return int(size[1][:9]) * int(count[1][:9]) or None
    return None
