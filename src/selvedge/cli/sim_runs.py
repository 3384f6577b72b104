"""Runs of the simulator in processes of their own, kept on disk as they end.

A run is named by everything that it depends on: the scenario, the policy and its knobs, the seed,
and the simulator's own code. What is on disk is not run again, so that a comparison that was
stopped goes on where it was.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.resources
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import msgspec

from selvedge.adapters import find_data, read_lines
from selvedge.cli.scenario_files import make_atlas, read_client_table
from selvedge.fabric import BadScenario, StoreFailed
from selvedge.sim import (
    TRACES,
    Atlas,
    Course,
    Description,
    Outcome,
    Summary,
    Timed,
    run,
)

_ROOMS = ("fabric", "wire", "residency", "routing", "cache", "ledger", "exchange", "sim")


_SELDOM = (2_000_000, 20, 1000)
"""Nearly nothing that a request leaves is a cycle: garbage is looked for, but not often."""


class Task(msgspec.Struct, frozen=True):
    """One run, as it is handed to a process."""

    name: str
    """The scenario's, for what is said of it."""
    description: Description
    policy: str
    seed: int
    knobs: Mapping[str, float] = {}
    requests_max: int | None = None
    data: str | None = None
    """Folder of the public traces."""

    def key(self, code: str) -> str:
        """What the run depends on, as one hash."""
        words = msgspec.json.encode([self, code], order="deterministic")
        return hashlib.sha256(words).hexdigest()[:32]


class Kept(msgspec.Struct, frozen=True):
    """A line of the file of runs."""

    key: str
    summary: Summary


def code_hash() -> str:
    """A hash of the code that a run executes."""
    digest = hashlib.sha256()
    package = importlib.resources.files("selvedge")
    for room in _ROOMS:
        folder = Path(str(package / room))
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".csv"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def play(task: Task, explains: int | None = None) -> Outcome:
    """One run in this process. The last atlas is kept: the next run is often of the same fleet."""
    gc.collect()  # The last run's fleet goes.
    gc.freeze()  # What is there now stays: millions of objects need not be looked at again.
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        return _run(task, explains)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _run(task: Task, explains: int | None) -> Outcome:
    trace: list[Timed] = []
    if task.description.traffic.trace is not None:
        data = find_data(None if task.data is None else Path(task.data))
        known = TRACES[task.description.traffic.trace]
        trace = known.read(read_lines(data, known.file), known.file)
    return run(
        Course(
            atlas=_atlas(task),
            clients=read_client_table(),
            policy=task.policy,
            seed=task.seed,
            knobs=task.knobs,
            requests_max=task.requests_max,
            explains=explains,
            trace=trace,
        )
    )


_ATLASES: dict[bytes, Atlas] = {}


def _atlas(task: Task) -> Atlas:
    """Fleets are the same for many loads and signals; those are put into a known one."""
    one = task.description
    parts = [one.scenario, one.fleet, one.hardware, one.zones, one.tenants]
    fleet = msgspec.json.encode(parts)
    known = _ATLASES.get(fleet)
    if known is None:
        _ATLASES.clear()
        known = _ATLASES[fleet] = make_atlas(task.name, task.description)
    return known.with_description(task.description)


def _summary(task: Task) -> Summary:
    return play(task).summary


def play_all(
    tasks: Sequence[Task], store: Path, workers: int, told: Callable[[Summary], None]
) -> list[Summary]:
    """Run what is not on disk yet; the summaries in the order of the tasks.

    Raises `StoreFailed` where the file cannot be written.
    """
    code = code_hash()
    known = {one.key: one.summary for one in read_kept(store)}
    left = {task.key(code): task for task in tasks if task.key(code) not in known}
    for key, found in _finished(left, workers):
        known[key] = found
        _keep(store, Kept(key, found))
        told(found)
    return [known[task.key(code)] for task in tasks]


def _finished(left: Mapping[str, Task], workers: int) -> Iterator[tuple[str, Summary]]:
    if workers == 1 or len(left) == 1:
        for key, task in left.items():
            yield key, _summary(task)
        return
    if not left:
        return
    with ProcessPoolExecutor(min(workers, len(left)), get_context("spawn")) as pool:
        futures = {pool.submit(_summary, task): key for key, task in left.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read_kept(store: Path) -> list[Kept]:
    """The runs on disk; a line that was cut off is no run. Raises `BadScenario`."""
    if not store.exists():
        return []
    found = []
    rows = store.read_bytes().split(b"\n")
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        try:
            found.append(msgspec.json.decode(row, type=Kept))
        except msgspec.MsgspecError as error:
            if number == len(rows):
                continue
            words = "is not a run that was kept; delete the file to start again"
            raise BadScenario(f"{store}, line {number}", words) from error
    return found


def _keep(store: Path, one: Kept) -> None:
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("ab") as file:
            file.write(msgspec.json.encode(one) + b"\n")
    except OSError as error:
        raise StoreFailed(f"cannot write {store}: {error.strerror}") from error
