"""One log on disk: entries in, signed checkpoints and static files out (c2sp.org/tlog-tiles).

The order of writes is the whole of it. A batch goes to the tail and is synced; then the state is
replaced, synced, with the checkpoint signed in it; then tiles and bundles are written under their
names; then the checkpoint is published. A checkpoint that was signed is therefore known for ever,
and whoever begins again makes from the tail what it says, or says which file does not give it and
signs nothing. Tiles are synced afterwards; what the tail need not keep then is dropped. Memory
follows what is added between two checkpoints, never the log's size.

    state.json                     size, root, signed checkpoint, how far sources have been read
    tail/<shard>.<index>           entries whose tiles may not be on disk yet
    public/<shard>/checkpoint      what the world reads: any web server may serve this folder
    public/<shard>/tile/...
    times/<shard>                  when the log had which size; a help to find a leaf, not synced
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from selvedge.adapters.log_files import LogFiles
from selvedge.adapters.log_tail import (
    Growing,
    Segment,
    restore_edge,
    write_batch,
    write_head,
)
from selvedge.fabric import BadProof, StoreCorrupt
from selvedge.tlog import (
    EMPTY_ROOT,
    TILE_WIDTH,
    ReadPath,
    RightEdge,
    Tile,
    read_checkpoint,
    shard_order,
)

STATE: Final = "state.json"
PUBLIC: Final = "public"
CHECKPOINT: Final = "checkpoint"
SEGMENT_BYTES_MAX: Final = 1024 * 1024
PENDING_MAX: Final = 65_536
"""Entries between two checkpoints."""
PENDING_BYTES_MAX: Final = 16 * 1024 * 1024
UNSETTLED_MAX: Final = 8_192
"""Tiles that are not synced; more, and a commit waits for them."""
TIMES_EACH_US: Final = 10_000_000
TIMES_BYTES: Final = 34
"""One line of the times."""
_REMEDY: Final = "restore it, or open a new shard with 'selvedge log reshard'"

Place = tuple[int, int]
Sign = Callable[[str, int, bytes], bytes]
"""Shard, size and root to the signed note."""


class LogState(msgspec.Struct, frozen=True):
    """What a log knows of itself: written whole, and synced, before anything is published."""

    shard: str = ""
    size: int = 0
    root: str = EMPTY_ROOT.hex()
    note: str = ""
    """The checkpoint, signed: a shard begins with the one of the empty tree."""
    time_us: int = 0
    """When it was signed. Never goes back."""
    beat_us: int = 0
    """The newest heartbeat's time."""
    sources: dict[str, Place] = {}
    """How far each source has been read: by journal, the segment and the offset in it."""
    v: int = 1


_decode: Final = msgspec.json.Decoder(LogState).decode


def encode_state(state: LogState) -> bytes:
    """One line: a checksum and JSON."""
    payload = msgspec.json.encode(state)
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def decode_state(data: bytes) -> LogState:
    """Raises `StoreCorrupt`."""
    payload = data[9:-1]
    if data[-1:] != b"\n" or b"%08x " % zlib.crc32(payload) != data[:9]:
        raise StoreCorrupt(f"{STATE} fails its checksum or is cut short; {_REMEDY}")
    try:
        return _decode(payload)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"{STATE} is not a state of a log ({error}); {_REMEDY}") from error


class LogStore:
    """A log of one process. Opened by `open`; after any error it must be opened again."""

    def __init__(
        self, files: LogFiles, sign: Sign, *, segment_bytes_max: int = SEGMENT_BYTES_MAX
    ) -> None:
        self.files = files
        self._sign = sign
        self._segment_bytes_max = segment_bytes_max
        self.state = LogState()
        self._forget(Growing(RightEdge(), []))

    def _forget(self, growing: Growing) -> None:
        self._growing = growing
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._full: list[Tile] = []
        self._unsettled: deque[tuple[int, str]] = deque()
        self._segments: deque[tuple[int, str]] = deque()
        self._tail_bytes = 0
        self._times_us = 0

    @property
    def pending(self) -> int:
        """Entries that no checkpoint covers yet."""
        return len(self._pending)

    @property
    def full(self) -> bool:
        """Whether a checkpoint is due before more is added."""
        return len(self._pending) >= PENDING_MAX or self._pending_bytes >= PENDING_BYTES_MAX

    @property
    def unsettled(self) -> int:
        """Tiles that are not synced yet."""
        return len(self._unsettled)

    def open(self) -> LogState:
        """Take up the log where it was; an empty state where there is none.

        Raises `StoreCorrupt` where what is on disk is not what was signed: then nothing is signed.
        """
        data = self.files.read(STATE)
        self._forget(Growing(RightEdge(), []))
        if data is None:
            if shards := self.shards():
                raise StoreCorrupt(f"{STATE} is missing, but {shards[-1]} was begun; {_REMEDY}")
            self.state = LogState()
            return self.state
        self.state = decode_state(data)
        if self.state.shard:
            self._check_shown()
            self._replay()
        return self.state

    def _check_shown(self) -> None:
        """What was shown was in the state before: a state that says less is an older copy."""
        state = self.state
        for shard in self.shards():
            if shard_order(shard) > shard_order(state.shard):
                raise StoreCorrupt(f"{STATE} is older than {public_folder(shard)}; {_REMEDY}")
        path = published(state.shard)
        try:
            shown, _ = read_checkpoint(self.files.read(path) or b"")
        except BadProof:
            return  # it is not there yet, or is damaged: it is shown anew
        if shown.size > state.size or (shown.size == state.size and shown.root.hex() != state.root):
            raise StoreCorrupt(f"{STATE} is older than {path}, or another; {_REMEDY}")

    def _replay(self) -> None:
        """Make the tree anew from the tail, and every tile that may not be on disk."""
        state, segments = self.state, self._own_segments()
        growing: Growing | None = None
        for segment in segments:
            if growing is None or growing.edge.size != segment.head.size:
                # The tiles of what came before were synced, or it would be here.
                edge = restore_edge(segment.path, segment.head)
                growing = Growing(edge, list(segment.head.entries))
                self._segments.clear()
            self._segments.append((segment.head.size, segment.path))
            self._read(segment, growing, last=segment is segments[-1])
        if growing is None or growing.edge.size != state.size:
            size = growing.edge.size if growing is not None else 0
            raise StoreCorrupt(f"the tail ends at {size} and not at {state.size}; {_REMEDY}")
        if growing.edge.root().hex() != state.root:
            where = self._segments[-1][1]
            raise StoreCorrupt(f"{where} does not give the root of {STATE}; {_REMEDY}")
        self._growing = growing
        self._put(growing.partial(), state.size)
        self._times()

    def _own_segments(self) -> list[Segment]:
        prefix = f"{self.state.shard}."
        found = []
        for name in self.files.names("tail"):
            if name.startswith(prefix) and name.removeprefix(prefix).isdecimal():
                found.append(Segment(self.files, f"tail/{name}"))
            else:
                self.files.remove(f"tail/{name}")
        for one in found:
            if one.head.size > self.state.size:
                raise StoreCorrupt(f"{STATE} is older than {one.path}; {_REMEDY}")
        return found

    def _read(self, segment: Segment, growing: Growing, *, last: bool) -> None:
        end, unsigned = segment.start, 0
        for batch in segment.batches():
            if growing.edge.size == self.state.size:
                unsigned += 1
                continue
            if batch.first != growing.edge.size:
                raise StoreCorrupt(f"{segment.path} goes on at {batch.first}; {_REMEDY}")
            tiles = growing.add(batch.entries)
            self._put(tiles, growing.edge.size)
            end = batch.end
        if unsigned > 1:
            raise StoreCorrupt(f"{STATE} is older than {segment.path}; {_REMEDY}")
        if last and segment.size > end:
            self.files.cut(segment.path, end)  # never signed
        self._tail_bytes = end - segment.start

    def begin(self, shard: str, time_us: int) -> None:
        """Open a shard, behind the one before: that one is whole on disk first."""
        assert not self._pending, "what is added belongs to the shard before"
        self.settle(len(self._unsettled))
        folder = public_folder(self.state.shard)
        self.files.sync(f"{folder}/{tile.name.path}" for tile in self._growing.partial())
        old = list(self._segments)
        self._forget(Growing(RightEdge(), []))
        self._roll(shard)
        self._start(shard, time_us)
        for _, path in old:
            self.files.remove(path)

    def reshard(self, shard: str, time_us: int) -> None:
        """Open a shard beside one that cannot go on: its files stay as they are. What was read of
        the sources counts as far as the state says, where it can be read.
        """
        try:
            self.state = decode_state(self.files.read(STATE) or b"")
        except StoreCorrupt:
            self.state = LogState()
        self._forget(Growing(RightEdge(), []))
        self._roll(shard)
        self._start(shard, time_us)

    def _start(self, shard: str, time_us: int) -> None:
        note = self._sign(shard, 0, EMPTY_ROOT).decode()
        self.state = msgspec.structs.replace(
            self.state, shard=shard, size=0, root=EMPTY_ROOT.hex(), note=note, time_us=time_us
        )
        self.files.replace(STATE, encode_state(self.state))
        self.publish(note.encode())

    def add(self, entries: list[bytes]) -> int:
        """Add entries behind all others; the index of the first. Nothing is written yet."""
        first = self._growing.edge.size
        self._full += self._growing.add(entries)
        self._pending += entries
        self._pending_bytes += sum(map(len, entries))
        return first

    def commit(
        self, time_us: int, sources: dict[str, Place] | None = None, beat_us: int = 0
    ) -> LogState:
        """Write what was added, for good, and sign the checkpoint of it. Raises `StoreFailed`;
        then the store must be opened again, and what was added be added again.
        """
        if self._pending:
            path = self._segments[-1][1]
            batch = write_batch(self.state.size, self._pending)
            self.files.append(path, batch)
            self.files.sync([path])
            self._tail_bytes += len(batch)
        edge = self._growing.edge
        root = edge.root()
        state = LogState(
            shard=self.state.shard,
            size=edge.size,
            root=root.hex(),
            note=self._sign(self.state.shard, edge.size, root).decode(),
            time_us=time_us,
            beat_us=beat_us or self.state.beat_us,
            sources=sources if sources is not None else self.state.sources,
        )
        self.files.replace(STATE, encode_state(state))
        self.state = state
        self._pending, self._pending_bytes = [], 0
        full, self._full = self._full, []
        self._put(full, state.size)
        self._put(self._growing.partial(), state.size)
        self._times()
        self.settle(max(0, len(self._unsettled) - UNSETTLED_MAX))
        return state

    def publish(self, note: bytes) -> None:
        """Show a checkpoint that was signed here. Raises `StoreFailed`."""
        self.files.replace(published(self.state.shard), note)

    def settle(self, count: int) -> None:
        """Sync so many of the oldest tiles that are not, and drop what of the tail follows."""
        due = [self._unsettled[at] for at in range(min(count, len(self._unsettled)))]
        self.files.sync(path for _, path in due)
        for _, path in due:
            self._unsettled.popleft()
            self.files.remove(f"{path}.p")
        while len(self._segments) > 1:
            if self._unsettled and self._unsettled[0][0] <= self._segments[1][0]:
                break
            self.files.remove(self._segments[0][1])
            self._segments.popleft()
        if self._tail_bytes >= self._segment_bytes_max and not self._pending:
            self._roll(self.state.shard)

    def shards(self) -> list[str]:
        """Shards whose files are here, oldest first."""
        return sorted(self.files.names(PUBLIC), key=shard_order)

    def _roll(self, shard: str) -> None:
        growing = self._growing
        path = f"tail/{shard}.{growing.edge.size:016d}"
        head = write_head(shard, growing.edge, growing.bundle)
        self.files.replace(path, head)
        self._segments.append((growing.edge.size, path))
        self._tail_bytes = 0

    def _put(self, tiles: list[Tile], size: int) -> None:
        """Write tiles of the tree of this size under their names."""
        prefix = public_folder(self.state.shard)
        for tile in tiles:
            path = f"{prefix}/{tile.name.path}"
            self.files.put(path, tile.data)
            if tile.name.width == TILE_WIDTH:
                self._unsettled.append((size, path))

    def _times(self) -> None:
        """Note when the log had its size, now and then."""
        state = self.state
        due = not self._times_us or state.time_us - self._times_us >= TIMES_EACH_US
        if state.size and due:
            self._times_us = state.time_us
            self.files.append(
                f"times/{state.shard}", b"%016d %016d\n" % (state.time_us, state.size)
            )


def public_folder(shard: str) -> str:
    """Where the static files of a shard lie."""
    return f"{PUBLIC}/{shard}"


def published(shard: str) -> str:
    """Where a shard's newest published checkpoint lies."""
    return f"{public_folder(shard)}/{CHECKPOINT}"


def read_path(files: LogFiles, shard: str) -> ReadPath:
    """The static files of a shard, as proofs are made from them."""
    prefix = public_folder(shard)
    return lambda path: files.read(f"{prefix}/{path}")


def sizes_around(files: LogFiles, shard: str, time_us: int) -> tuple[int, int | None]:
    """The size that a shard had at this time or before, and the next one known; None: none is.

    An entry that was written at this time has an index at or behind the first.
    """
    data = files.read(f"times/{shard}") or b""
    before = 0
    for at in range(0, len(data) - TIMES_BYTES + 1, TIMES_BYTES):
        when, _, size = data[at : at + TIMES_BYTES - 1].partition(b" ")
        if not (when.isdigit() and size.isdigit()):
            return before, None  # torn: the power went
        if int(when) > time_us:
            return before, int(size)
        before = int(size)
    return before, None
