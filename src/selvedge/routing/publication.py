"""What a GPU PoP tells others of the prefixes it holds: every asker what it has not heard yet.

Askers come when they like, each with the epoch and number up to which it has heard a filter. So the
deltas of an epoch are numbered once for all, the newest are kept, and who lags further behind, or
knows another epoch, gets the whole as one beginning. Who may hear of which zone class is for the
caller to say: only named ones are told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from selvedge.routing.digest import BITS_MIN, BITS_PER_BLOCK, PUBLISHED_BYTES_MAX, Publisher
from selvedge.routing.held import Held
from selvedge.routing.signals import Delta

DELTAS_KEPT: Final = 64
EPOCH_US: Final = 60_000_000
"""An epoch lasts at least so long, unless its filters were small and are full."""
EPOCH_US_MIN: Final = 5_000_000
EPOCH_US_MAX: Final = 600_000_000
"""After so long a new one begins if anything is gone."""
_GONE_SHARE: Final = 8
"""One in so many that is gone begins a new epoch."""

Known = Mapping[str, Mapping[str, tuple[int, int]]]
"""Model -> zone class -> epoch and number up to which its filter was heard."""


class _Told:
    """One filter as it was told so far in this epoch."""

    __slots__ = ("bits", "epoch", "newest", "number", "shorts")

    def __init__(self) -> None:
        self.epoch = 0
        self.number = 0
        self.bits = 0
        self.shorts = b""
        self.newest: deque[Delta] = deque(maxlen=DELTAS_KEPT)

    def add(self, delta: Delta) -> None:
        self.epoch, self.number = delta.epoch, delta.number
        if delta.bits_count:
            self.bits = delta.bits_count
            self.shorts = delta.shorts
            self.newest.clear()
            return
        self.shorts += delta.shorts
        self.newest.append(delta)

    @property
    def is_full(self) -> bool:
        return len(self.shorts) // 4 * BITS_PER_BLOCK >= self.bits


class _Model:
    """One model: its publisher, and the filters of its zone classes."""

    __slots__ = ("began_us", "publisher", "told")

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.began_us = 0
        self.told: dict[str, _Told] = {}

    def add(self, deltas: list[Delta]) -> None:
        for delta in deltas:
            if delta.zone not in self.told:
                self.told[delta.zone] = _Told()
            self.told[delta.zone].add(delta)


class Publications:
    """Filters of one PoP, by model and zone class. ``epoch`` is its own: no other process's."""

    def __init__(self, pop: str, models: int = 1, epoch: int = 0) -> None:
        self._pop = pop
        self._epoch = epoch
        self._bytes_max = PUBLISHED_BYTES_MAX // max(1, models)
        self._models: dict[str, _Model] = {}

    def hold(self, model: str, zone: str, blocks: list[int]) -> None:
        """Blocks of a tenant of this zone class are held from now on."""
        publisher = self._model(model).publisher
        for block in blocks:
            publisher.hold(zone, block)

    def turn(self, model: str, books: list[Held], now_us: int) -> None:
        """Number what is new, or begin a new epoch where it is time. ``books`` are the engines'."""
        one = self._model(model)
        if self._is_due(one, books, now_us):
            held: dict[str, list[int]] = {}
            for book in books:
                book.gone = 0
                for zone, blocks in book.by_zone().items():
                    held.setdefault(zone, []).extend(blocks)
            one.told.clear()
            one.began_us = now_us
            one.add(one.publisher.begin(held))
        else:
            one.add(one.publisher.deltas())

    def since(self, zones: frozenset[str], known: Known) -> list[Delta]:
        """What somebody who may hear of ``zones`` lacks; a filter that is no more begins empty."""
        found: list[Delta] = []
        for model, one in self._models.items():
            heard = known.get(model, {})
            for zone, told in one.told.items():
                if zone in zones:
                    found += self._rest(model, zone, told, heard.get(zone))
        for model, heard in known.items():
            told_of = self._models[model].told if model in self._models else {}
            for zone in heard:
                if zone in zones and zone not in told_of:
                    found.append(Delta(self._pop, zone, model, self._epoch, 0, BITS_MIN, b""))
        return found

    def _rest(
        self, model: str, zone: str, told: _Told, heard: tuple[int, int] | None
    ) -> list[Delta]:
        if heard is not None and heard[0] == told.epoch:
            behind = told.number - heard[1]
            if not behind:
                return []
            if 0 < behind <= len(told.newest):
                return list(told.newest)[-behind:]
        whole = (told.epoch, told.number, told.bits, told.shorts)
        return [Delta(self._pop, zone, model, *whole)]

    def _is_due(self, one: _Model, books: list[Held], now_us: int) -> bool:
        age_us = now_us - one.began_us
        if not one.began_us or age_us < 0:
            return any(len(book) for book in books)
        gone = sum(book.gone for book in books)
        if age_us >= EPOCH_US_MAX:
            return gone > 0
        told = sum(len(each.shorts) // 4 for each in one.told.values())
        if age_us >= EPOCH_US and gone * _GONE_SHARE > told:
            return True
        if any(each.is_full for each in one.told.values()):
            bits = sum(each.bits for each in one.told.values())
            return age_us >= (EPOCH_US_MIN if bits < self._bytes_max * 4 else EPOCH_US)
        return False

    def _model(self, model: str) -> _Model:
        one = self._models.get(model)
        if one is None:
            publisher = Publisher(self._pop, model, self._bytes_max, self._epoch)
            one = self._models[model] = _Model(publisher)
        return one
