"""The figures by which policies are compared: folds over the rows of one run.

Counted are requests that arrived in the measured window. What was refused, failed or shed counts as
a failure of the service: goodput is requests whose first token came within the objective over all
that arrived, and in the quantiles of TTFT a request without a first token counts as one that took
the whole deadline. A policy gains nothing by refusing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from selvedge.sim.columns import NONE_US, Columns


class Summary(msgspec.Struct, frozen=True):
    """One run of one policy with one seed."""

    policy: str
    seed: int
    arrived: int
    served: int
    ttft_ms_p50: float
    ttft_ms_p95: float
    ttft_ms_p99: float
    ttft_ms_mean: float
    goodput: float
    """Share of arrivals whose first token came within the objective and whose answer is whole."""
    shed: float
    """Share of arrivals that were refused for want of room."""
    failed: float
    """Share of arrivals that ended otherwise without a whole answer."""
    prefix_reuse: float
    """Share of prompt tokens that were found in an engine's memory."""
    abroad: float
    """Share of answers given in another region than where they were asked for."""
    gpus: int
    gpu_hours: float
    out_of_zone: int
    control_bytes_per_s: float
    """What one ingress hears of all others, on average."""
    requests_per_s: float
    codes: Mapping[str, int]
    digest: str


class Window(msgspec.Struct, frozen=True):
    """The measured part of a run, in microseconds UTC, and its objective."""

    from_us: int
    until_us: int
    slo_us: int
    deadline_us: int


def nearest_rank(ordered: Sequence[int], share: float) -> int:
    """A quantile of sorted values; 0 where there are none."""
    if not ordered:
        return 0
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)]


class Fold:
    """What the rows of a window come to."""

    def __init__(self, rows: Columns, window: Window, regions: Mapping[str, str]) -> None:
        self.arrived = self.served = self.good = 0
        self.prompt_tokens = self.cached_tokens = self.abroad = 0
        self.codes: Counter[str] = Counter()
        self.times_us: list[int] = []
        homes = [regions.get(name, "") for name in rows.ingresses.names]
        hosts = [regions.get(name, "") for name in rows.pops.names]
        for at, arrived_us in enumerate(rows.arrived_us):
            if not window.from_us <= arrived_us < window.until_us:
                continue
            self.arrived += 1
            ttft_us = rows.ttft_us[at]
            self.times_us.append(window.deadline_us if ttft_us == NONE_US else ttft_us)
            outcome = rows.outcome[at]
            if outcome != 0:
                self.codes[rows.outcomes.names[outcome]] += 1
                continue
            self.served += 1
            self.good += ttft_us <= window.slo_us
            self.prompt_tokens += rows.prompt_tokens[at]
            self.cached_tokens += rows.cached_tokens[at]
            self.abroad += homes[rows.ingress[at]] != hosts[rows.served[at]]
        self.times_us.sort()

    def ms(self, share: float) -> float:
        """A quantile of the times to first token, in ms."""
        return nearest_rank(self.times_us, share) / 1000

    @property
    def mean_ms(self) -> float:
        """Their mean."""
        return sum(self.times_us) / len(self.times_us) / 1000 if self.times_us else 0.0
