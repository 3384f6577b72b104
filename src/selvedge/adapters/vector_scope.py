"""One scope in the cache process's memory: its entries as columns, its buckets, its vectors' file.

An entry is a row: the same number in the columns and in the file of vectors. A bucket is a list of
rows. A small one (`PLAIN_MAX` and fewer, which most are: every system prompt and every course of a
conversation is one) has nothing else in memory: its rows are opened and compared. A larger one has
a `VectorIndex` whose candidates are opened and compared. Either way what is returned is ranked by
vectors in half precision.

It refuses to know what an answer says and who asks; it is not safe for several threads at once
but for `grown`, which only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from selvedge.adapters.answer_store_records import ID_BYTES
from selvedge.adapters.vector_file import Row, VectorFile
from selvedge.adapters.vector_index import VectorIndex, lists_for
from selvedge.fabric.value import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PLAIN_MAX: Final = 64
CANDIDATES: Final = 32
ROW_BYTES: Final = 480
"""What an entry takes in memory, codes included (measured: bench/cache_speed.py)."""
_NONE: Final = -1
_GONE_LEAST: Final = 1024
"""Positions of an index that is not worth making again for what is gone of it."""


class Near(Value, frozen=True):
    """A kept entry beside a question."""

    row: int
    entry: bytes
    cluster: bytes
    similarity: float


class Member(Value, frozen=True):
    """What a scope is told of an entry."""

    entry: bytes
    size: int
    cost_micro: int


class VectorScope:
    """The entries of one scope. ``file`` None: no vectors, sizes and values alone."""

    def __init__(self, file: VectorFile | None, dims: int) -> None:
        import numpy as np  # noqa: PLC0415 (the cache extra, optional)

        self.file = file
        self.clock = 0.0
        """Of GreedyDual-Size-Frequency."""
        self.used_us = 0
        self._dims = dims
        self._count = 0
        self._free: list[int] = []
        self._columns = _columns(np, 64)
        self._buckets: dict[bytes, _Bucket | int] = {}
        self._names: list[bytes | None] = []

    @property
    def entries(self) -> int:
        """How many there are."""
        return self._count - len(self._free)

    @property
    def memory_bytes(self) -> int:
        """What it takes of the process's memory, estimated."""
        return self.entries * ROW_BYTES

    def add(self, member: Member, row: Row | None, uses: int = 1) -> int:
        """Take an entry in; with a row it is found by its vector. Raises `StoreFailed`."""
        number = self._free.pop() if self._free else self._count
        if row is not None and self.file is not None:
            try:
                self.file.write(number, row)
            except BaseException:
                if number < self._count:
                    self._free.append(number)
                raise
        self._place(number, member, uses)
        if row is not None:
            self._join(number, row, _unpacked(row))
        return number

    def load(self, members: Iterable[Member]) -> list[bytes]:
        """Take in what the answers' store has, with the file's rows; gives entries without one."""

        waiting = {member.entry: member for member in members}
        stale: list[int] = []
        if self.file is not None:
            for number, row in self.file.all():
                member = waiting.pop(row.entry, None)
                if member is None:
                    stale.append(number)
                    continue
                while self._count < number:
                    self._free.append(self._count)
                    self._place_free(self._count)
                self._place(number, member, 1)
                self._join(number, row, _unpacked(row))
            self.file.erase(stale)
        rest = list(waiting)
        for member in waiting.values():
            self._place(self._free.pop() if self._free else self._count, member, 1)
        return rest

    def attach(self, entry: bytes, row: Row) -> None:
        """Give an entry that has no vector one. Raises `StoreFailed`."""

        found = self.find([entry])
        if found and self._columns.bucket[found[0]] == _NONE and self.file is not None:
            self.file.write(found[0], row)
            self._join(found[0], row, _unpacked(row))

    def search(self, bucket: bytes, vector: NDArray[np.float32], count: int) -> list[Near]:
        """The nearest entries of a bucket, nearest first, by their own vectors."""
        import numpy as np  # noqa: PLC0415

        known = self._buckets.get(bucket)
        if known is None or self.file is None:
            return []
        columns = self._columns
        if isinstance(known, int):
            rows, number = [known], None
        else:
            rows, number = known.near(vector, max(count, CANDIDATES)), known.number
        opened: list[int] = []
        halves: list[bytes] = []
        rows = list(dict.fromkeys(rows))
        if number is not None:
            here = columns.bucket[rows] == number
            rows = [row for row, is_here in zip(rows, here.tolist(), strict=True) if is_here]
        for row in rows:
            half = self.file.half(row)
            if half is not None:
                opened.append(row)
                halves.append(half)
        if not opened:
            return []
        full = np.frombuffer(b"".join(halves), np.float16).reshape(len(opened), -1)
        similar = full.astype(np.float32) @ vector
        best = np.argsort(-similar, kind="stable")[:count]
        return [
            Near(
                opened[at],
                columns.entry[opened[at]].tobytes(),
                columns.cluster[opened[at]].tobytes(),
                float(similar[at]),
            )
            for at in best.tolist()
        ]

    def use(self, entries: dict[bytes, int]) -> None:
        """Count uses of entries."""
        for entry, row in zip(list(entries), self._rows_of(list(entries)), strict=True):
            if row >= 0:
                self._columns.uses[row] += entries[entry]
                self._columns.clock[row] = self.clock

    def values(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Rows that hold an entry, their values, and their bytes (`cache.value_of` of each)."""
        import numpy as np  # noqa: PLC0415

        columns = self._columns
        rows = np.flatnonzero(columns.size[: self._count] > 0)
        size = columns.size[rows].astype(np.int64)
        cost = np.maximum(columns.cost[rows], 1).astype(np.float64)
        value = columns.clock[rows] + cost * np.maximum(columns.uses[rows], 1) / size
        return rows, value, size

    def entry_of(self, row: int) -> bytes:
        """The entry in a row."""
        entry: bytes = self._columns.entry[row].tobytes()
        return entry

    def find(self, entries: Sequence[bytes]) -> list[int]:
        """The rows of those of these entries that are here."""
        return [row for row in self._rows_of(entries) if row >= 0]

    def drop(self, entries: Sequence[bytes]) -> None:
        """Take entries out, off the disk too. Raises `StoreFailed`."""
        rows = self.find(entries)
        if not rows:
            return
        columns = self._columns
        for row in rows:
            number = int(columns.bucket[row])
            columns.size[row] = 0
            columns.bucket[row] = _NONE
            if number != _NONE:
                self._leave(number, row)
            self._free.append(row)
        if self.file is not None:
            self.file.erase(rows)

    def to_grow(self) -> list[Grown]:
        """Buckets whose index should have (more) lists, or lose what is gone from it."""
        wanted = []
        for bucket in self._buckets.values():
            if isinstance(bucket, _Bucket):
                lists = bucket.wants()
                if lists is not None:
                    wanted.append(Grown(bucket, lists, self._columns.bucket))
        return wanted

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            self.file.close()

    def _place(self, number: int, member: Member, uses: int) -> None:
        if number == self._count:
            self._place_free(number)
        columns = self._columns
        columns.entry[number] = memoryview(member.entry)
        columns.size[number] = max(1, member.size)
        columns.cost[number] = min(member.cost_micro, 2**31 - 1)
        columns.uses[number] = uses
        columns.clock[number] = self.clock
        columns.bucket[number] = _NONE

    def _place_free(self, number: int) -> None:
        """Make room for a row at the end."""
        import numpy as np  # noqa: PLC0415

        if number >= len(self._columns.size):
            self._columns = _columns(np, number + number // 4 + 64, self._columns)
        self._columns.size[number] = 0
        self._columns.bucket[number] = _NONE
        self._count = number + 1

    def _join(self, number: int, row: Row, vector: Callable[[], NDArray[np.float32]]) -> None:
        """Put a row into its bucket: alone, in a list, or in an index."""
        columns = self._columns
        columns.cluster[number] = memoryview(row.cluster)
        known = self._buckets.get(row.bucket)
        if known is None:
            self._buckets[row.bucket] = number
            self._names.append(row.bucket)
            columns.bucket[number] = len(self._names) - 1
            return
        if isinstance(known, int):
            known = _Bucket(int(columns.bucket[known]), self._dims, [known])
            self._buckets[row.bucket] = known
        columns.bucket[number] = known.number
        known.add(number, vector, self._vector)

    def _vector(self, row: int) -> NDArray[np.float32] | None:
        import numpy as np  # noqa: PLC0415

        half = None if self.file is None else self.file.half(row)
        return None if half is None else np.frombuffer(half, np.float16).astype(np.float32)

    def _leave(self, number: int, row: int) -> None:
        name = self._names[number]
        known = None if name is None else self._buckets.get(name)
        if name is None or known is None:
            return
        if isinstance(known, int) or known.lose(row):
            del self._buckets[name]
            self._names[number] = None

    def _rows_of(self, entries: Sequence[bytes]) -> list[int]:
        """The row of each entry, or -1."""
        import numpy as np  # noqa: PLC0415

        if not entries:
            return []
        wanted = np.array([int.from_bytes(one[:8], "little") for one in entries], np.uint64)
        firsts = self._columns.entry[: self._count, :8].copy().view(np.uint64).ravel()
        rows = [_NONE] * len(entries)
        order = {entry: at for at, entry in enumerate(entries)}
        for row in np.flatnonzero(np.isin(firsts, wanted)).tolist():
            at = order.get(self.entry_of(row), _NONE)
            if at >= 0 and self._columns.size[row] > 0:
                rows[at] = row
        return rows


class Grown:
    """An index to be made anew: `make` in a thread, the others in the owner's."""

    def __init__(self, bucket: _Bucket, lists: int, of: NDArray[np.int32]) -> None:
        self.lists = lists
        self._bucket = bucket
        self._of = of
        self._keep: NDArray[np.bool_] | None = None

    def begin(self) -> None:
        """From now on additions go beside the index that is read."""
        self._keep = self._bucket.freeze(self._of)

    def make(self) -> VectorIndex:
        """The index; takes seconds."""
        main = self._bucket.main
        assert main is not None
        assert self._keep is not None, "make comes after begin"
        return main.remade(self.lists, self._keep)

    def put(self, made: VectorIndex | None) -> None:
        """Use it in place of the old one; None: it could not be made."""
        self._bucket.thaw(made)


class _Bucket:
    """Rows that differ only in their text."""

    __slots__ = ("_dims", "_gone_before", "gone", "main", "number", "rows", "tail")

    def __init__(self, number: int, dims: int, rows: list[int]) -> None:
        self.number = number
        self.rows = rows
        self.main: VectorIndex | None = None
        self.tail: VectorIndex | None = None
        self.gone = 0
        self._gone_before = 0
        self._dims = dims

    def add(
        self,
        row: int,
        vector: Callable[[], NDArray[np.float32]],
        read: Callable[[int], NDArray[np.float32] | None],
    ) -> None:
        import numpy as np  # noqa: PLC0415

        if self.main is None:
            self.rows.append(row)
            if len(self.rows) > PLAIN_MAX:
                found = [(one, read(one)) for one in self.rows[:-1]]
                kept = [(one, have) for one, have in found if have is not None]
                kept.append((row, vector()))
                self.main = VectorIndex(self._dims)
                self.main.add(
                    np.array([one for one, _ in kept], np.int32), np.stack([v for _, v in kept])
                )
                self.rows = []
            return
        part = self.main if self.tail is None else self.tail
        part.add(np.array([row], np.int32), vector().reshape(1, -1))

    def near(self, vector: NDArray[np.float32], count: int) -> list[int]:
        if self.main is None:
            return self.rows
        rows = self.main.search(vector, count)
        if self.tail is not None and self.tail.size:
            rows = rows + self.tail.search(vector, count)
        return rows

    def lose(self, row: int) -> bool:
        """Note that a row is gone; whether the bucket is empty."""
        if self.main is None:
            self.rows.remove(row)
            return not self.rows
        self.gone += 1
        return self.gone >= self.main.size + (self.tail.size if self.tail is not None else 0)

    def wants(self) -> int | None:
        """How many lists another index would have; None: this one will do."""
        main = self.main
        if main is None or self.tail is not None:
            return None
        lists = lists_for(main.size - self.gone)
        if lists > main.lists or (main.size > _GONE_LEAST and self.gone * 2 > main.size):
            return lists
        return None

    def freeze(self, of: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which positions are not gone: the last of each row that is still of this bucket."""
        import numpy as np  # noqa: PLC0415

        assert self.main is not None
        self.tail = VectorIndex(self._dims)
        self._gone_before = self.gone
        rows = self.main.rows()
        keep = np.zeros(len(rows), np.bool_)
        _, last = np.unique(rows[::-1], return_index=True)
        keep[len(rows) - 1 - last] = True
        kept: NDArray[np.bool_] = keep & (of[rows] == self.number)
        return kept

    def thaw(self, made: VectorIndex | None) -> None:
        tail, self.tail = self.tail, None
        if made is not None:
            self.main = made
            self.gone -= self._gone_before
        if tail is not None and tail.size and self.main is not None:
            self.main.take(tail)


def _unpacked(row: Row) -> Callable[[], NDArray[np.float32]]:
    import numpy as np  # noqa: PLC0415

    return lambda: np.frombuffer(row.half, np.float16).astype(np.float32)


class _Columns:
    __slots__ = ("bucket", "clock", "cluster", "cost", "entry", "size", "uses")

    entry: NDArray[np.uint8]
    cluster: NDArray[np.uint8]
    bucket: NDArray[np.int32]
    size: NDArray[np.int32]
    cost: NDArray[np.int32]
    uses: NDArray[np.int32]
    clock: NDArray[np.float64]


def _columns(np: Any, rows: int, before: _Columns | None = None) -> _Columns:  # a module
    made = _Columns()
    for name, kind, width in (
        ("entry", np.uint8, ID_BYTES),
        ("cluster", np.uint8, 8),
        ("bucket", np.int32, 0),
        ("size", np.int32, 0),
        ("cost", np.int32, 0),
        ("uses", np.int32, 0),
        ("clock", np.float64, 0),
    ):
        column = np.empty((rows, width) if width else rows, kind)
        if before is not None:
            old = getattr(before, name)
            column[: len(old)] = old
        setattr(made, name, column)
    return made
