"""A published log, read where it lies: a folder, or a URL below which the same files are served.

Nothing read here is believed before its signature or its place in the tree is checked, so that
plain HTTP will do. Redirects are not followed: the address that was named is the one that is asked.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Final, Protocol

from selvedge.adapters.log_files import FolderFiles
from selvedge.adapters.log_store import sizes_around
from selvedge.fabric import SelvedgeError, StoreFailed
from selvedge.tlog import ENTRY_BYTES_MAX, TILE_WIDTH, ReadPath, month_of, shard_order

FILE_BYTES_MAX: Final = (ENTRY_BYTES_MAX + 2) * TILE_WIDTH
ANSWER_S_MAX: Final = 15
SHARDS_TRIED: Final = 4
"""Of one month, where a place cannot be listed: the first, and those opened anew."""
_PUBLIC: Final = "public"


class LogPlace(Protocol):
    """Where the shards of a log are read."""

    def shards(self, time_us: int) -> list[str]:
        """Those that may hold what was logged at this time or soon after, the likeliest first."""

    def read(self, shard: str) -> ReadPath:
        """The files of a shard."""

    def around(self, shard: str, time_us: int) -> tuple[int, int | None]:
        """The size that a shard had at this time, and the next one known; (0, None): not known."""


class LogFolder:
    """A log's own folder, with ``public/<shard>``, or a copy of that one, with ``<shard>``."""

    def __init__(self, folder: Path) -> None:
        own = folder / _PUBLIC
        self._public = own if own.is_dir() else folder
        self._files = FolderFiles(folder)
        if not self._public.is_dir():
            raise StoreFailed(f"{folder} is no folder of a log: no such folder")

    def shards(self, time_us: int) -> list[str]:
        """Those there are from that month on, in order."""
        month = month_of(time_us)
        found = sorted(
            (one.name for one in self._public.iterdir() if shard_order(one.name)[0]),
            key=shard_order,
        )
        return [one for one in found if shard_order(one)[0] >= month]

    def read(self, shard: str) -> ReadPath:
        """The files of a shard."""
        return FolderFiles(self._public / shard).read

    def around(self, shard: str, time_us: int) -> tuple[int, int | None]:
        """By the times that the log keeps; they are a help, and nothing depends on them."""
        return sizes_around(self._files, shard, time_us)


class LogUrl:
    """A log behind HTTP, its shards below one prefix."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise SelvedgeError(f"{url!r} is neither a folder nor an http(s) URL of a log")
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(_NoRedirects)

    def shards(self, time_us: int) -> list[str]:
        """Those of that month and the next that answer."""
        names = []
        for month in (month_of(time_us), _month_after(time_us)):
            for number in range(1, SHARDS_TRIED + 1):
                name = month if number == 1 else f"{month}.{number}"
                if self.read(name)("checkpoint") is None:
                    break
                names.append(name)
        return names

    def read(self, shard: str) -> ReadPath:
        """The files of a shard. Raises `StoreFailed` where the server does not answer."""

        def fetch(path: str) -> bytes | None:
            url = f"{self._url}/{shard}/{path}"
            try:
                with self._opener.open(url, timeout=ANSWER_S_MAX) as answer:
                    data: bytes = answer.read(FILE_BYTES_MAX + 1)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in (404, 410):
                    return None
                raise StoreFailed(f"{url} answers {error.code}") from error
            except (OSError, ValueError) as error:
                raise StoreFailed(f"{url} cannot be read: {error}") from error
            if len(data) > FILE_BYTES_MAX:
                raise StoreFailed(f"{url} is larger than {FILE_BYTES_MAX} bytes")
            return data

        return fetch

    def around(self, shard: str, time_us: int) -> tuple[int, int | None]:
        """Not known from outside."""
        return 0, None


def log_place(place: str) -> LogPlace:
    """The log in a folder or below a URL. Raises `SelvedgeError`."""
    return LogUrl(place) if "://" in place else LogFolder(Path(place))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _month_after(time_us: int) -> str:
    year, month = (int(part) for part in month_of(time_us).split("-"))
    return f"{year + month // 12:04d}-{month % 12 + 1:02d}"
