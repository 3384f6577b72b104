"""Property tests are the same on every machine: no clock decides, and the examples are seeded."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("selvedge", deadline=None, derandomize=True)
settings.load_profile("selvedge")
