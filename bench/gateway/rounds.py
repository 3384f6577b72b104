"""The loads in turns: round by round, each load on each target, one after the other, so that what
else the machine does falls on all alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import Progress

from bench.gateway.cases import SMALL, Case, Sample, closed, measure
from bench.gateway.results import SATURATION
from bench.gateway.targets import Bench, Target

QUICK_S = 0.7


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: loads, targets by name, rounds; ``scale`` stretches every load's time."""

    cases: Sequence[Case]
    targets: Sequence[str]
    rounds: int
    scale: float
    parts: frozenset[str]
    long: bool = False


class Rounds:
    """The samples of one run."""

    def __init__(self, bench: Bench, targets: Mapping[str, Target], scale: float) -> None:
        self._bench = bench
        self._targets = targets
        self._scale = scale
        self._rates: dict[str, float] = {}
        self.samples: list[Sample] = []

    def run(self, cases: Sequence[Case], rounds: int, console: Console) -> None:
        """Measure every case of every target."""
        turns = [(case, target) for case in cases for target in self._asked(case)]
        if not turns:
            return
        with Progress(console=console, refresh_per_second=2) as progress:
            task = progress.add_task("", total=rounds * len(turns))
            for number in range(1, rounds + 1):
                for case, target in turns:
                    words = f"round {number} of {rounds}: {case.name}, {target.name}"
                    progress.update(task, description=words)
                    self._turn(case, target, number)
                    progress.advance(task)

    def _asked(self, case: Case) -> list[Target]:
        return [self._targets[name] for name in case.targets if name in self._targets]

    def _turn(self, case: Case, target: Target, number: int) -> None:
        rate = case.rate_of * self._saturation(target) if case.rate_of else 0.0
        sample = measure(self._bench, target, case, number, rate=rate, scale=self._scale)
        self.samples.append(sample)
        if case.name == SATURATION:
            self._rates.setdefault(target.name, float(sample.load["rps"]))
        if case.rate_of:
            direct = self._targets["direct"]
            beside = measure(self._bench, direct, case, number, rate=rate, scale=self._scale)
            self.samples.append(replace(beside, case=f"{case.name}_as_{target.name}"))

    def _saturation(self, target: Target) -> float:
        """Requests per second of a target at its limit, measured now where it was not yet."""
        if target.name not in self._rates:
            case = replace(closed(SMALL, "0.5kb", 64, ()), seconds=QUICK_S)
            sample = measure(self._bench, target, case, 0)
            self._rates[target.name] = float(sample.load["rps"])
        return self._rates[target.name]
