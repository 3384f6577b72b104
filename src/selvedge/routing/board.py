"""The live board of an ingress: newest reports and digests of other PoPs, as they come in.

It answers `Signals`. Digests are kept of the nearest allowed GPU PoPs alone, and what they cost to
hear is counted, so that the bound (`BYTES_PER_S_MAX` an ingress) is a figure and not a hope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from selvedge.routing.digest import PUBLISHED_BYTES_MAX, Copy, Shorts
from selvedge.routing.sight import take_apart
from selvedge.routing.signals import Delta, Report
from selvedge.routing.told import Told

BYTES_PER_S_MAX: Final = 50_000
NEAREST_MAX: Final = 16
_WINDOW_US: Final = 60_000_000


class Board:
    """What has been heard."""

    def __init__(self, zones: frozenset[str]) -> None:
        self._zones = zones
        """Zone classes that this PoP lies in: it is told, and keeps, no other's filters."""
        self._reports: dict[str, Report] = {}
        # By model and PoP; a decision asks of one model again and again.
        self._told: dict[str, dict[str, Told]] = {}
        self._model: str | None = None
        self._told_of_it: dict[str, Told] = {}
        # By PoP and model, its filters of each zone class.
        self._copies: dict[str, dict[str, Copy]] = {}
        self._digested: set[str] = set()
        # Of the prefix that was asked for last: it is asked of a dozen PoPs in a row.
        self._asked = Shorts(())
        self._heard: list[tuple[int, int]] = []
        self._heard_bytes = 0

    def report(self, pop: str, now_us: int) -> Report | None:
        """The newest report of ``pop``."""
        return self._reports.get(pop)

    def told(self, pop: str, model: str, now_us: int) -> Told | None:
        """What it says of a model."""
        if model is not self._model:
            self._model = model
            self._told_of_it = self._told.get(model, {})
        return self._told_of_it.get(pop)

    def matched(self, pop: str, model: str, prefix: tuple[int, ...], now_us: int) -> int:
        """The most that any of its filters claims; fingerprints of other tenants match nothing."""
        copies = self._copies.get(pop + "/" + model)
        if copies is None or not prefix:
            return 0
        if prefix is not self._asked.prefix:
            self._asked = Shorts(prefix)
        most = 0
        for copy in copies.values():
            if copy.filter is not None:
                most = max(most, copy.filter.leading(self._asked))
        return most

    def put(self, report: Report, size: int, now_us: int) -> None:
        """A report came; an older one than is known is dropped, and so is one from the future.

        One that is known and lies in the future tells that this PoP's clock was set back: whatever
        comes now is newer.
        """
        self._hear(size, now_us)
        known = self._reports.get(report.pop)
        if report.at_us > now_us:
            return
        if known is None or known.at_us < report.at_us or known.at_us > now_us:
            self._keep(report)

    def _keep(self, report: Report) -> None:
        pop = report.pop
        self._reports[pop] = report
        self._model = None  # A model may be spoken of for the first time.
        for table in self._told.values():
            table.pop(pop, None)
        for model, of_model in report.models.items():
            self._told.setdefault(model, {})[pop] = take_apart(report, of_model)

    @property
    def reports(self) -> Mapping[str, Report]:
        """The newest report of every PoP, however old."""
        return self._reports

    def fresh(self, now_us: int, age_us_max: int) -> int:
        """How many PoPs have a report that is at most so old."""
        ages = [now_us - one.at_us for one in self._reports.values()]
        return sum(1 for age in ages if 0 <= age <= age_us_max)

    def known(self, pop: str) -> dict[str, dict[str, tuple[int, int]]]:
        """Up to where the filters of ``pop`` were heard: epoch and number, by model and zone."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for key, copies in self._copies.items():
            owner, _, model = key.partition("/")
            if owner == pop:
                heard = {zone: copy.heard for zone, copy in copies.items()}
                found[model] = {zone: at for zone, at in heard.items() if at is not None}
        return found

    def put_delta(self, delta: Delta, now_us: int, *, own: bool = False) -> bool:
        """A part of a digest came; false where the whole must be asked for. ``own`` cost nothing.

        One of a zone that this PoP does not lie in is refused: it should not have been sent.
        """
        self._hear(0 if own else delta.size, now_us)
        if delta.zone not in self._zones:
            raise ValueError(f"a digest of zone class {delta.zone!r} does not belong here")
        if delta.pop not in self._digested and len(self._digested) >= NEAREST_MAX:
            raise ValueError(f"digests come from at most {NEAREST_MAX} PoPs; drop one first")
        if delta.bits_count // 8 + self._others_bytes(delta) > PUBLISHED_BYTES_MAX:
            raise ValueError(f"the filters of a PoP have {PUBLISHED_BYTES_MAX} bytes in all")
        self._digested.add(delta.pop)
        copies = self._copies.setdefault(delta.pop + "/" + delta.model, {})
        return copies.setdefault(delta.zone, Copy()).take(delta)

    def drop(self, pop: str) -> None:
        """Forget a PoP's digest: another is nearer."""
        self._digested.discard(pop)
        for key in [key for key in self._copies if key.startswith(pop + "/")]:
            del self._copies[key]

    def forget(self, pop: str) -> None:
        """Forget all that a PoP said."""
        self.drop(pop)
        self._reports.pop(pop, None)
        for table in self._told.values():
            table.pop(pop, None)

    def _others_bytes(self, delta: Delta) -> int:
        """What the other filters of the delta's PoP take."""
        total = 0
        if delta.bits_count:
            for key, copies in self._copies.items():
                owner, _, model = key.partition("/")
                if owner == delta.pop:
                    for zone, copy in copies.items():
                        if copy.filter is not None and (model, zone) != (delta.model, delta.zone):
                            total += copy.filter.bytes_count
        return total

    def bytes_per_s(self, now_us: int) -> int:
        """What reports and digests cost to hear, over the last minute."""
        self._hear(0, now_us)
        return self._heard_bytes * 1_000_000 // _WINDOW_US

    def _hear(self, size: int, now_us: int) -> None:
        self._heard.append((now_us, size))
        self._heard_bytes += size
        gone = 0
        while self._heard[gone][0] <= now_us - _WINDOW_US:
            self._heard_bytes -= self._heard[gone][1]
            gone += 1
        if gone:
            del self._heard[:gone]
