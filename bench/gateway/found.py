"""All that one run measured, before it becomes tables, a chart and a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.gateway.cases import Sample
from bench.gateway.crowd import Crowd
from bench.gateway.results import Figures
from bench.gateway.targets import Target

Stages = dict[str, dict[str, float]]


@dataclass(slots=True)
class Found:
    """All that was measured."""

    samples: list[Sample]
    figures: Figures
    targets: dict[str, Target]
    stages: Stages = field(default_factory=dict)
    sampler: str = ""
    crowds: list[Crowd] = field(default_factory=list)
