"""What PoPs report, as a test says it."""

from __future__ import annotations

from selvedge.routing import ModelReport, Report, Told, take_apart


def model_report(
    waiting_tokens: int = 0,
    running: int = 0,
    slots: int = 64,
    kv_free: float = 1.0,
    rate: int = 10_000,
    *,
    kv_tokens: int = 0,
    kv_wanted: int = 0,
    residence_ms: int = 0,
) -> ModelReport:
    """An idle PoP's, but for what is given."""
    return ModelReport(
        waiting_tokens, running, slots, kv_free, rate, kv_tokens, kv_wanted, residence_ms
    )


class Said:
    """`Signals` from a table."""

    def __init__(self, model: str = "chat") -> None:
        self.reports: dict[str, Report] = {}
        self.held: dict[str, int] = {}
        self.asked: list[str] = []
        self._model = model

    def say(
        self, pop: str, load: ModelReport | None = None, at_us: int = 0, reserve: float = 1.0
    ) -> None:
        """A PoP's report."""
        models = {self._model: load or model_report()}
        self.reports[pop] = Report(pop, at_us, reserve, models)

    def report(self, pop: str, now_us: int) -> Report | None:
        """Whatever was said."""
        return self.reports.get(pop)

    def told(self, pop: str, model: str, now_us: int) -> Told | None:
        """The same of a model."""
        self.asked.append(pop)
        report = self.reports.get(pop)
        load = report.models.get(model) if report is not None else None
        return take_apart(report, load) if report is not None and load is not None else None

    def matched(self, pop: str, model: str, prefix: tuple[int, ...], now_us: int) -> int:
        """As many blocks as were said."""
        return min(self.held.get(pop, 0), len(prefix))
