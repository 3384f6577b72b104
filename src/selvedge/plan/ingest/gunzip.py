"""Gzip, part by part: what is cut off gives what stands before, what is damaged gives nothing.

A cut leaves the beginning as it was. A checksum that does not fit says that something was changed,
and not where: numbers that were read before it are not to be believed.
"""

from __future__ import annotations

import zlib
from io import BufferedReader
from typing import Final

from selvedge.plan.history import BadPlan

GZIP: Final = b"\x1f\x8b"
_PIECE: Final = 1 << 18
_WINDOW: Final = 31  # zlib's word for: gzip, with its header and checksum


class Gunzip:
    """The bytes of all parts of a packed file."""

    def __init__(self, file: BufferedReader, name: str) -> None:
        self._file = file
        self._name = name
        self._part = zlib.decompressobj(_WINDOW)
        self._packed = b""

    def read(self, size: int) -> bytes:
        """Some bytes, none at the end.

        Raises `EOFError` where the file is cut off or goes on as something else, `BadPlan` where
        it is damaged.
        """
        while True:
            if self._part.eof and not self._begin():
                return b""
            data = self._packed or self._file.read1(_PIECE)
            found = self._unpack(data, size)  # of no data, what zlib still holds
            if found:
                return found
            if not data and not self._part.eof:
                raise EOFError("the packed file ends before its end was written")

    def _unpack(self, data: bytes, size: int) -> bytes:
        try:
            found = self._part.decompress(data, size)
        except zlib.error as error:
            words = "its unpacked bytes are damaged, and nothing says which"
            remedy = "nothing of it is taken: fetch it again"
            raise BadPlan(f"{self._name}: {words} ({error}); {remedy}.") from error
        self._packed = self._part.unused_data if self._part.eof else self._part.unconsumed_tail
        return found

    def _begin(self) -> bool:
        """Whether there is another part; zeros between parts are padding."""
        rest = self._packed.lstrip(b"\0")
        while len(rest) < len(GZIP):
            data = self._file.read1(_PIECE)
            if not data:
                break
            rest = (rest + data).lstrip(b"\0")
        if not rest:
            return False
        if not rest.startswith(GZIP):
            raise EOFError("behind the packed bytes stands something else")
        self._part, self._packed = zlib.decompressobj(_WINDOW), rest
        return True
