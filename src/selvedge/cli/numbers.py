"""Numbers of options, within limits: what is no number at all (``nan``) is outside them."""

from __future__ import annotations

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A finite number from ``min`` to ``max``."""

    name = "number"

    def convert(
        self,
        value: Any,  # text, or a default
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is no number that can be reckoned with.", param, ctx)
        return found
