"""Property tests are the same on every machine: no clock decides, and the examples are seeded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

import selvedge

settings.register_profile("selvedge", deadline=None, derandomize=True)
settings.load_profile("selvedge")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` runs the sources and then what is compiled of them; a few tests need sources."""
    if "compiled" in Path(selvedge.__file__).parts:
        words = "on the compiled package: it changes what compiled code holds fast"
        for item in items:
            if item.get_closest_marker("interpreted") is not None:
                item.add_marker(pytest.mark.skip(reason=words))
