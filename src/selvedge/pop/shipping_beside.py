"""Shipping by the keeper: beside the workers, by the release that they keep on disk."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from selvedge.adapters import HttpClient, open_release
from selvedge.fabric import BadRelease, Release
from selvedge.pop.cache_keeping import CacheKeeping
from selvedge.pop.limits import client_settings
from selvedge.pop.log_keeping import LogKeeping
from selvedge.pop.log_writer import PopLog
from selvedge.pop.settings import Settings
from selvedge.pop.shared import Shared
from selvedge.pop.shipping import Shipping

LOOK_S: Final = 1.0

log: Final = logging.getLogger("selvedge.keeper")


class KeptRelease:
    """The release that the workers keep; read again when it has changed."""

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings.state_dir) / "release" / "release.json"
        self._public = settings.operator_public_key
        self._seen: tuple[int, int] | None = None
        self._release: Release | None = None

    def release(self) -> Release | None:
        """The newest that holds."""
        return self._release

    def look(self) -> None:
        """Read it, where it has changed."""
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                data = self._path.read_bytes()
                self._seen = (stat.st_mtime_ns, stat.st_ino)
                self._release = open_release(data, self._public).release
        except OSError:
            return  # there is none yet
        except BadRelease as error:
            log.error("the kept release is not one to ship by: %s", error)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_S)


async def ship_beside(settings: Settings, identity: bytes, shared: Shared) -> None:
    """Ship and log the receipts of all workers until cancelled."""
    client = HttpClient(client_settings(settings))
    kept = KeptRelease(settings)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(kept.watch())
            keeping = LogKeeping(settings, client, PopLog(settings), shared=shared, serves=False)
            shipping = Shipping(
                settings,
                client,
                identity,
                kept.release,
                shared=shared,
                may_drop=keeping.may_drop,
            )
            group.create_task(shipping.watch())
            group.create_task(keeping.watch(kept.release))
            group.create_task(CacheKeeping(settings, os.environ).watch(kept.release))
    finally:
        await client.close()
