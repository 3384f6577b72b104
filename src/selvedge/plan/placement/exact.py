"""HiGHS: small mixed-integer programmes, given whole and answered with a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import highspy
import numpy as np
import numpy.typing as npt

from selvedge.plan.placement.neighbours import Floats

_INFINITE: Final = highspy.kHighsInf


@dataclass(frozen=True, slots=True)
class Solved:
    """What came of a programme."""

    status: str
    """`optimal`, `infeasible`, `time` (with or without an answer) or another word of HiGHS's."""
    values: Floats | None
    cost: float
    bound: float
    """No answer is cheaper."""
    duals: Floats | None = None
    """By row, of a programme without whole columns: what one more on its right would cost."""


@dataclass(slots=True)
class Programme:
    """Minimise a sum over columns, under rows. Columns are from 0 to `upper`."""

    cost: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    whole: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    columns: int = 0
    sizes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    index: list[npt.NDArray[np.int64]] = field(default_factory=list)
    value: list[Floats] = field(default_factory=list)
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)

    def add_columns(self, cost: Floats, upper: float, *, whole: bool) -> npt.NDArray[np.int64]:
        """New columns; their numbers."""
        count = len(cost)
        self.cost.append(np.asarray(cost, np.float64))
        self.upper.append(np.full(count, upper))
        self.whole.append(np.full(count, whole))
        self.columns += count
        return np.arange(self.columns - count, self.columns)

    def add_row(
        self, index: npt.ArrayLike, value: npt.ArrayLike, low: float, high: float = _INFINITE
    ) -> None:
        """One row."""
        at = np.asarray(index, np.int64)
        self.add_rows(np.array([len(at)]), at, np.asarray(value, np.float64), (low, high))

    def add_rows(
        self,
        sizes: npt.NDArray[np.int64],
        index: npt.NDArray[np.int64],
        value: Floats,
        between: tuple[float, float],
    ) -> None:
        """Rows of these sizes, one after the other, all between the same two numbers."""
        self.sizes.append(np.asarray(sizes, np.int64))
        self.index.append(index)
        self.value.append(value)
        self.low.append(np.full(len(sizes), between[0]))
        self.high.append(np.full(len(sizes), between[1]))

    def solve(self, seconds: float, gap: float = 1e-6, start: Floats | None = None) -> Solved:
        """Ask HiGHS, on one thread. `start` is an answer to begin with."""
        make: Any = highspy.Highs  # It has no types.
        highs = make()
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("threads", 1)
        highs.setOptionValue("time_limit", max(seconds, 0.1))
        highs.setOptionValue("mip_rel_gap", gap)
        highs.passModel(self._model())
        if start is not None:
            given = highspy.HighsSolution()
            given.col_value = start.tolist()
            highs.setSolution(given)
        highs.run()
        return _read(highs, is_mip=bool(np.any(np.concatenate(self.whole))))

    def _model(self) -> Any:
        model: Any = highspy.HighsLp()  # Takes lists and arrays of several kinds.
        sizes = _joined(self.sizes, np.int64)
        model.num_col_, model.num_row_ = self.columns, len(sizes)
        model.col_cost_ = np.concatenate(self.cost)
        model.col_lower_ = np.zeros(self.columns)
        model.col_upper_ = np.concatenate(self.upper)
        model.row_lower_ = _joined(self.low, np.float64)
        model.row_upper_ = _joined(self.high, np.float64)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.concatenate([[0], np.cumsum(sizes)])
        model.a_matrix_.index_ = _joined(self.index, np.int64)
        model.a_matrix_.value_ = _joined(self.value, np.float64)
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[bool(one)] for one in np.concatenate(self.whole)]
        return model


def _joined(parts: Sequence[npt.NDArray[np.generic]], kind: type) -> npt.NDArray[np.generic]:
    return np.concatenate([np.zeros(0, kind), *parts]).astype(kind)


def _read(highs: Any, *, is_mip: bool) -> Solved:
    words = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kInfeasible: "infeasible",
        highspy.HighsModelStatus.kTimeLimit: "time",
    }
    found = highs.getModelStatus()
    status = words.get(found, highs.modelStatusToString(found))
    info = highs.getInfo()
    is_there = info.primal_solution_status == 2
    values = np.array(highs.getSolution().col_value) if is_there else None
    cost = float(info.objective_function_value) if is_there else np.inf
    bound = float(info.mip_dual_bound) if is_mip else (cost if status == "optimal" else -np.inf)
    duals = np.array(highs.getSolution().row_dual) if is_there and not is_mip else None
    return Solved(status, values, cost, bound, duals)
