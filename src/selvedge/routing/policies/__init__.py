"""The policies, as a table: ours, and those it is compared with.

Every row has the same interface and the same sight of candidates; each names its source and says
what it simplifies. ``grid`` is what its knobs are tuned over, on other seeds than those reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, Final

from selvedge.fabric.value import Value
from selvedge.routing.policies import chwbl, gorgo, llmd, lmetric, oracle, plain, sglang, skywalker
from selvedge.routing.policies.predictive import Predictive, PredictiveKnobs
from selvedge.routing.policy import Policy

Grid = Mapping[str, tuple[float, ...]]
_WAY: Final[Grid] = {"rtt_weight": (0.0, 0.5, 1.0, 2.0, 4.0)}


class Row(Value, frozen=True):
    """A policy by name: how to make it, its knobs' type, and values to tune each knob over."""

    name: str
    make: Callable[..., Policy]
    knobs: type[Value]
    grid: Grid
    published: bool = False
    """Whether it is one of those that the headline compares ours with."""
    fresh: bool = False
    """Whether it must be handed the present state of everything."""

    def tuned(self) -> list[Value]:
        """Every combination of the grid."""
        names = list(self.grid)
        return [
            self.knobs(**_typed(self.knobs, dict(zip(names, values, strict=True))))
            for values in product(*self.grid.values())
        ]


def make_policy(name: str, seed: str, settings: Mapping[str, float] | None = None) -> Policy:
    """The policy of a row, for one ingress. Raises `KeyError` or `TypeError` for what has none."""
    row = POLICIES[name]
    return row.make(row.knobs(**_typed(row.knobs, dict(settings or {}))), seed)


def _typed(knobs: type[Value], values: dict[str, float]) -> dict[str, Any]:  # Any: any knob's
    """Numbers as the knob has them: an integer stays one."""
    kinds = dict(zip(knobs.__struct_fields__, knobs.__struct_defaults__, strict=True))
    return {
        name: type(kinds[name])(value) if name in kinds else value for name, value in values.items()
    }


def _ours() -> Iterator[Row]:
    knobs: Grid = {
        "crowd_share": (0.05, 0.1, 0.2),
        "crowd_us": (10_000, 30_000, 70_000),
        "harm": (0.0, 1.0, 3.0),
        "tau_us": (0, 30_000, 100_000),
        "band_us": (4_000, 25_000),
        "band_share": (0.05, 0.2, 0.3),
        "patience_us": (0, 30_000, 100_000),
        "drain": (0.4, 0.8),
    }
    yield Row("predictive", Predictive, PredictiveKnobs, knobs)


def _simple() -> Iterator[Row]:
    for name, make in (
        ("random", plain.Random),
        ("round-robin", plain.RoundRobin),
        ("nearest", plain.Nearest),
        ("least-load", plain.LeastLoad),
        ("power-of-two", plain.PowerOfTwo),
    ):
        yield Row(name, make, plain.NoKnobs, {})
    knobs: Grid = {"load_factor": (1.1, 1.25, 1.5, 2.0), "nearest": (0, 4, 8, 16)}
    yield Row("chwbl", chwbl.Chwbl, chwbl.ChwblKnobs, knobs)


def _published() -> Iterator[Row]:
    """Those that the headline compares ours with."""
    yield Row("lmetric", lmetric.LMetric, lmetric.LMetricKnobs, _WAY, published=True)
    knobs: Grid = {
        "local_rtt_us": (10_000, 30_000, 60_000, 120_000),
        "pending_tokens": (0, 2_000, 8_000),
        "match_share": (0.2, 0.5),
    }
    yield Row("skywalker", skywalker.SkyWalker, skywalker.SkyWalkerKnobs, knobs, published=True)
    knobs = {
        "rtt_weight": (0.5, 1.0, 2.0),
        "queue_weight": (0.5, 1.0, 2.0),
        "running_tokens": (0, 200, 400, 800),
    }
    yield Row("gorgo", gorgo.Gorgo, gorgo.GorgoKnobs, knobs, published=True)
    knobs = {"tau_s": (0.1, 0.3, 1.0, 3.0), **_WAY}
    yield Row("sticky", llmd.StickyUntilSaturated, llmd.StickyKnobs, knobs, published=True)


def _others() -> Iterator[Row]:
    knobs: Grid = {"rtt_weight": (0.5, 1.0, 2.0), "running_tokens": (0, 200, 400, 800)}
    yield Row("gorgo-v1", gorgo.GorgoFirst, gorgo.GorgoKnobs, knobs)
    yield Row("llm-d-precise", llmd.Scorers, llmd.ScorerKnobs, _WAY)
    yield Row("llm-d-estimated", llmd.Estimated, llmd.ScorerKnobs, _WAY)
    yield Row("llm-d-load", llmd.LoadScorer, llmd.ScorerKnobs, _WAY)
    knobs = {"match_share": (0.1, 0.3, 0.5), "balance_abs": (8, 32, 64)}
    yield Row("cache-aware", sglang.CacheAware, sglang.CacheAwareKnobs, knobs)
    knobs = {"crowd_us": (0, 20_000, 40_000, 70_000, 100_000)}
    yield Row("oracle", oracle.Oracle, oracle.OracleKnobs, knobs, fresh=True)


POLICIES: Final[Mapping[str, Row]] = MappingProxyType(
    {row.name: row for row in (*_ours(), *_simple(), *_published(), *_others())}
)
