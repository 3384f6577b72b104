"""Every release that was published, kept for ever: a report judges a receipt by its own release.

One file a release in ``releases/`` beside the file that PoPs watch, named by version and hash, the
signed bytes compressed. A release is kept before PoPs can see it, so that no receipt names one that
is not here.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters.release_store import (
    RELEASE_BYTES_MAX,
    Held,
    SignedRelease,
    open_release,
    write_atomically,
)
from selvedge.fabric import BadRelease, StoreCorrupt, StoreFailed

RELEASES: Final = "releases"
_PREFIX: Final = "sha256:"
_NAMED: Final = 16


class _Version(msgspec.Struct):
    version: int


def lay_down_release(path: Path, sealed: bytes) -> None:
    """Keep a signed release, then put it where PoPs watch. What lay there is kept, too.

    Raises `StoreFailed`.
    """
    archive = ReleaseArchive(path.parent / RELEASES)
    try:
        archive.keep(path.read_bytes())
    except (FileNotFoundError, BadRelease):
        pass  # there was none, or none that anybody serves
    except OSError as error:
        raise StoreFailed(f"{path} cannot be read: {error.strerror}") from error
    archive.keep(sealed)
    write_atomically(path, sealed)


class ReleaseArchive:
    """The releases of one fleet, by hash."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, version: int, release_hash: str) -> Path:
        """Where a release lies, or would."""
        name = release_hash.removeprefix(_PREFIX)[:_NAMED]
        return self.directory / f"{version:08d}-{name}.json.gz"

    def keep(self, sealed: bytes) -> Path:
        """Keep a signed release; one that is kept stays as it is.

        Raises `BadRelease`, `StoreFailed`.
        """
        try:
            signed = msgspec.json.decode(sealed, type=SignedRelease)
            version = msgspec.json.decode(signed.release, type=_Version).version
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadRelease("release", f"is not a signed release: {error}") from error
        path = self.path(version, signed.hash)
        if not path.exists():
            write_atomically(path, gzip.compress(sealed, 6, mtime=0))
        return path

    def find(self, version: int, release_hash: str, operator_public: str) -> Held | None:
        """The release; None where it is not kept. Raises `StoreCorrupt` where it does not hold."""
        path = self.path(version, release_hash)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreFailed(f"{path} cannot be read: {error.strerror}") from error
        try:
            held = open_release(_unpacked(data), operator_public)
        except (BadRelease, EOFError, OSError, zlib.error) as error:
            words = f"{path} is not the release that was published ({error})"
            raise StoreCorrupt(f"{words}; restore it from a copy") from error
        if (held.release.version, bare(held.hash)) != (version, bare(release_hash)):
            raise StoreCorrupt(f"{path} is another release than its name says; restore it")
        return held

    def version_of(self, release_hash: str) -> int | None:
        """The version of the release with this hash; None where it is not kept."""
        name = bare(release_hash)[:_NAMED]
        found = sorted(self.directory.glob(f"[0-9]*-{name}.json.gz"))
        return int(found[0].name.partition("-")[0]) if found else None

    def names(self) -> list[str]:
        """The files of all that are kept, oldest first."""
        return sorted(one.name for one in self.directory.glob("[0-9]*-*.json.gz"))


def bare(release_hash: str) -> str:
    """A hash without its scheme: simulated receipts write none."""
    return release_hash.removeprefix(_PREFIX)


def _unpacked(data: bytes) -> bytes:
    """At most one byte more than a release may have."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
    found = unpack.decompress(data, RELEASE_BYTES_MAX + 1)
    if not unpack.eof and len(found) <= RELEASE_BYTES_MAX:
        raise EOFError("it is cut short")
    return found
