"""Makes the wheel of `make wheel`: with the extension modules of `build/compiled/` in it.

Where SELVEDGE_COMPILED does not name such a folder the wheel is pure Python, as an editable
install is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledWheel(BuildHookInterface):  # type: ignore[type-arg]
    """Adds extension modules beside their sources, and the platform to the wheel's name."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See the module. Raises `FileNotFoundError` where the folder holds no such module."""
        folder = os.environ.get("SELVEDGE_COMPILED")
        if not folder or version == "editable":
            return
        root = Path(self.root, folder)
        modules = sorted(root.rglob("*.so"))
        if not modules:
            raise FileNotFoundError(f"{root} holds no extension module: run `make compile`")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for module in modules:
            build_data["force_include"][str(module)] = str(module.relative_to(root))
