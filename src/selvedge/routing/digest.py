"""Which prefixes a GPU PoP holds, in a few kilobytes: filters, what changed in them, who may read.

A filter is a Bloom filter (Bloom 1970; double hashing as Kirsch and Mitzenmacher 2006) of 32-bit
shorts of fingerprints. Bits cannot be taken back, so deletion goes by epochs: the PoP knows exactly
what it holds, and every epoch begins with a filter made anew of that. In between only additions
travel, four bytes each.

One filter per zone class: what a tenant bound to a zone keeps here is told inside that zone only.
The filters of a PoP share `PUBLISHED_BYTES_MAX`; where they would need more, the oldest blocks are
left out, which costs a prefill and nothing else. With `BITS_PER_BLOCK` bits a block a filter claims
fewer than `FALSE_POSITIVES` of the blocks that it does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from selvedge.routing.signals import Delta

PUBLISHED_BYTES_MAX: Final = 64 * 1024
BITS_PER_BLOCK: Final = 12
HASHES: Final = 5
FALSE_POSITIVES: Final = 0.01
SHORT_BYTES: Final = 4
BITS_MIN: Final = 1 << 12
_MASK: Final = 0xFFFFFFFF


def shorten(fingerprint: int) -> int:
    """32 bits of a fingerprint, mixed: counters, as traces have, are no worse than hashes."""
    short = (fingerprint ^ (fingerprint >> 32)) & _MASK
    short = ((short ^ (short >> 16)) * 0x45D9F3B) & _MASK
    short = ((short ^ (short >> 16)) * 0x45D9F3B) & _MASK
    return short ^ (short >> 16)


class Filter:
    """Blocks that may be held. ``bits_count`` is a power of two."""

    __slots__ = ("_bits", "_mask", "blocks")

    def __init__(self, bits_count: int) -> None:
        if bits_count < BITS_MIN or bits_count & (bits_count - 1):
            raise ValueError(f"a filter has a power of two of bits, at least {BITS_MIN}")
        if bits_count > PUBLISHED_BYTES_MAX * 8:
            raise ValueError(f"a filter has at most {PUBLISHED_BYTES_MAX} bytes")
        self._bits = bytearray(bits_count // 8)
        self._mask = bits_count - 1
        self.blocks = 0

    @property
    def bytes_count(self) -> int:
        """Its size."""
        return len(self._bits)

    def add(self, short: int) -> None:
        """Hold a block."""
        at, step, bits, mask = short, _step(short), self._bits, self._mask
        for _ in range(HASHES):
            bit = at & mask
            bits[bit >> 3] |= 1 << (bit & 7)
            at += step
        self.blocks += 1

    def has(self, short: int) -> bool:
        """Whether the block may be held; surely not where false."""
        at, step, bits, mask = short, _step(short), self._bits, self._mask
        for _ in range(HASHES):
            bit = at & mask
            if not bits[bit >> 3] >> (bit & 7) & 1:
                return False
            at += step
        return True

    def leading(self, prefix: Shorts) -> int:
        """How many leading blocks of a prefix are held.

        Blocks are chained and the last of a chain go first, so those held lead: bisection finds
        their end. Most prompts are not held at all, and cost one look.
        """
        if not prefix.count or not self.has(prefix.at(0)):
            return 0
        low, high = 1, prefix.count
        while low < high:
            middle = (low + high + 1) // 2
            if self.has(prefix.at(middle - 1)):
                low = middle
            else:
                high = middle - 1
        return low


class Shorts:
    """A prefix as filters know it, shortened where it is looked at."""

    __slots__ = ("_shorts", "count", "prefix")

    def __init__(self, prefix: tuple[int, ...]) -> None:
        self.prefix = prefix
        self.count = len(prefix)
        self._shorts = [-1] * len(prefix)

    def at(self, number: int) -> int:
        """One block."""
        short = self._shorts[number]
        if short < 0:
            short = self._shorts[number] = shorten(self.prefix[number])
        return short


def _step(short: int) -> int:
    """The second hash: odd, so that all positions of a power of two are reached."""
    return ((short * 0x2545F49) >> 7) | 1


def bits_for(blocks: int) -> int:
    """The size of a filter for so many blocks, with room to grow for an epoch."""
    bits = BITS_MIN
    while bits < blocks * BITS_PER_BLOCK and bits < PUBLISHED_BYTES_MAX * 8:
        bits *= 2
    return bits


class Publisher:
    """A GPU PoP's side: what it holds of one model, by zone class, and what to tell next."""

    def __init__(
        self, pop: str, model: str, bytes_max: int = PUBLISHED_BYTES_MAX, epoch: int = 0
    ) -> None:
        self._pop = pop
        self._model = model
        self._room = min(bytes_max, PUBLISHED_BYTES_MAX) * 8
        """Bits of all its filters; models of one PoP share what it may publish."""
        self._epoch = epoch
        self._numbers: dict[str, int] = {}
        self._bits: dict[str, int] = {}
        self._told: dict[str, set[int]] = {}
        self._new: dict[str, list[int]] = {}

    def begin(self, held: Mapping[str, Iterable[int]]) -> list[Delta]:
        """A new epoch: filters made anew of what is held, oldest first, by zone class.

        Where all together would not fit, each class keeps its share of the newest.
        """
        self._epoch += 1
        shorts = {zone: [shorten(one) for one in blocks] for zone, blocks in held.items()}
        while sum(bits_for(len(blocks)) for blocks in shorts.values()) > self._room:
            longest = max(sorted(shorts), key=lambda zone: len(shorts[zone]))
            bits = bits_for(len(shorts[longest]))
            if bits == BITS_MIN:  # None can be made smaller: one class is not told of.
                del shorts[min(sorted(shorts), key=lambda zone: len(shorts[zone]))]
            else:
                shorts[longest] = shorts[longest][-(bits // 2 // BITS_PER_BLOCK) :]
        self._new.clear()
        self._bits = {zone: bits_for(len(blocks)) for zone, blocks in shorts.items()}
        self._told = {zone: set(blocks) for zone, blocks in shorts.items()}
        self._numbers = dict.fromkeys(shorts, 0)
        return [self._delta(zone, self._bits[zone], shorts[zone]) for zone in sorted(shorts)]

    def hold(self, zone: str, fingerprint: int) -> None:
        """A block of a tenant of this zone class is held from now on."""
        short = shorten(fingerprint)
        told = self._told.setdefault(zone, set())
        if short not in told:
            told.add(short)
            self._new.setdefault(zone, []).append(short)

    def deltas(self) -> list[Delta]:
        """What is new since the last word; a zone class that is new begins its filter."""
        found = []
        for zone, shorts in sorted(self._new.items()):
            bits = 0 if zone in self._bits else self._begin_late(len(shorts))
            if zone not in self._bits and not bits:
                continue
            # A full filter takes no more: it would claim everything. The next epoch makes room.
            room = self._bits.setdefault(zone, bits) // BITS_PER_BLOCK * 4 // 3
            known = len(self._told[zone]) - len(shorts)
            self._numbers[zone] = self._numbers.get(zone, -1) + 1
            found.append(self._delta(zone, bits, shorts[: max(0, room - known)]))
        self._new.clear()
        return found

    def _begin_late(self, blocks: int) -> int:
        """The size of a filter that begins between epochs, in the room that is left; 0: none."""
        room = self._room - sum(self._bits.values())
        bits = bits_for(blocks * 4)
        while bits > room:
            bits //= 2
        return bits if bits >= BITS_MIN else 0

    def _delta(self, zone: str, bits: int, shorts: list[int]) -> Delta:
        packed = b"".join(short.to_bytes(SHORT_BYTES, "big") for short in shorts)
        number = self._numbers[zone]
        return Delta(self._pop, zone, self._model, self._epoch, number, bits, packed)


class Copy:
    """An ingress's copy of one filter."""

    __slots__ = ("_epoch", "_number", "filter")

    def __init__(self) -> None:
        self._epoch = 0
        self._number = 0
        self.filter: Filter | None = None

    @property
    def heard(self) -> tuple[int, int] | None:
        """Epoch and number up to which it is whole; None where it holds nothing."""
        return None if self.filter is None else (self._epoch, self._number)

    def take(self, delta: Delta) -> bool:
        """Apply a delta; false where one before it is missing, and the whole must be asked for."""
        if len(delta.shorts) % SHORT_BYTES or len(delta.shorts) > PUBLISHED_BYTES_MAX * 4:
            raise ValueError("a delta's shorts are 4 bytes each, at most 65,536 of them")
        if delta.bits_count:
            self.filter = Filter(delta.bits_count)
        elif self.filter is None or delta.epoch != self._epoch or delta.number != self._number + 1:
            self.filter = None  # It would claim what may be gone.
            return False
        self._epoch, self._number = delta.epoch, delta.number
        for at in range(0, len(delta.shorts), SHORT_BYTES):
            self.filter.add(int.from_bytes(delta.shorts[at : at + SHORT_BYTES], "big"))
        return True
