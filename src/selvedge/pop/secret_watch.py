"""The sealed secrets of providers, taken when a PoP starts, when they change, and on SIGHUP.

What cannot be opened is said once, by its name; the others hold on.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from selvedge.adapters import ProviderSecrets
from selvedge.fabric import StoreCorrupt, StoreFailed
from selvedge.pop.state import PopState

log: Final = logging.getLogger("selvedge.pop")


class SecretWatch:
    """Looks at the file of one PoP."""

    def __init__(self, state: PopState, directory: Path, identity: bytes) -> None:
        self._state = state
        self._secrets = ProviderSecrets(directory, identity)
        self._mark = (0, 0, 0)

    def look(self) -> None:
        """Take what is sealed there, where it is other than before."""
        mark = self._secrets.mark()
        if mark != self._mark:
            self._mark = mark
            self.take()

    def take(self) -> None:
        """Take what is sealed there now; what was taken before stays where it cannot be read."""
        try:
            found, damaged = self._secrets.open()
        except (StoreCorrupt, StoreFailed) as error:
            self._state.metrics.faults.inc()
            log.error("secrets of providers: %s", error)
            return
        for name in damaged:
            self._state.metrics.faults.inc()
            log.error("secret %r was not sealed by this PoP's identity; set it again here", name)
        self._state.hold_secrets(found)
