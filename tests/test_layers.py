"""The floors of the house: who may import whom.

Reads every import under `src/selvedge`, also those for typing only. A room is a package directly
under `selvedge`; the table below is the plan, and a room that is not in it does not exist.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "selvedge"

FLOORS = {
    "fabric": 0,
    "wire": 1,
    "residency": 1,
    "routing": 1,
    "cache": 1,
    "ledger": 1,
    "tlog": 1,
    "headroom": 1,
    "exchange": 2,
    "sim": 3,
    "adapters": 3,
    "plan": 4,
    "pop": 4,
    "control": 5,
    "cli": 6,
}
OUTSIDE_ROOMS = {"__init__.py", "__main__.py"}
PURE = {room for room, floor in FLOORS.items() if floor <= 2} | {"sim"}
IMPURE_MODULES = {
    "asyncio",
    "concurrent",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uvloop",
}
IMPURE_CALLS = {"open", "print", "input", "datetime.now", "datetime.utcnow", "date.today"}
BASES = {("selvedge", "fabric", "value")}  # mypyc finds a base class only in its own module
SEEDED = {"sim"}  # may name random.Random, which takes a seed, and nothing else of random
OPTIONAL = {
    *("cedarpy", "duckdb", "xllamacpp", "gguf", "safetensors", "numpy", "PIL", "reportlab"),
    *("faiss", "onnx", "onnxruntime"),
}
OPTIONAL_ROOMS = {"adapters", "cli"}
# Packages inside a room that need an extra: each has a door of its own, and the floors above come
# through it from inside a function (or for types alone): who has not the extra has all else.
ANNEXES = {
    ("selvedge", "plan", name)
    for name in (
        *("history", "ingest", "synth", "utilisation", "pages"),
        *("placement", "economics", "fit"),
    )
}


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its dotted path as parts, without `selvedge` and `__init__`."""

    path: Path
    parts: tuple[str, ...]
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.parts[0]

    @property
    def package(self) -> tuple[str, ...]:
        return self.parts if self.path.name == "__init__.py" else self.parts[:-1]


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `from selvedge.wire import sse` has target (selvedge, wire), name sse."""

    module: Module
    line: int
    target: tuple[str, ...]
    name: str | None
    inside_function: bool
    for_types: bool = False

    @property
    def room(self) -> str | None:
        """The room it comes from; None for what is not ours or lies outside the rooms."""
        if self.target[0] != "selvedge":
            return None
        inner = self.target[1:] or ((self.name,) if self.name in FLOORS else ())
        return inner[0] if inner else None

    def __str__(self) -> str:
        what = ".".join(self.target) + (f" ({self.name})" if self.name else "")
        return f"{self.module.path}:{self.line}: imports {what}"


@dataclass(frozen=True, slots=True)
class House:
    """Every module in a room, and every import of those modules."""

    root: Path
    modules: dict[tuple[str, ...], Module]
    imports: list[Import]


@cache
def read_house(root: Path) -> House:
    modules = {}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if len(relative.parts) > 1:
            parts = relative.with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            modules[parts] = Module(path, parts, ast.parse(path.read_text("utf-8"), str(path)))
    imports = [found for module in modules.values() for found in read_imports(module)]
    return House(root, modules, imports)


def read_imports(module: Module) -> Iterator[Import]:
    def visit(node: ast.AST, inside: bool, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    target = tuple(alias.name.split("."))
                    yield Import(module, child.lineno, target, None, inside, typing)
            elif isinstance(child, ast.ImportFrom):
                target = absolute(module, child)
                for alias in child.names:
                    yield Import(module, child.lineno, target, alias.name, inside, typing)
            else:
                is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                yield from visit(child, inside or is_function, typing or for_types)

    yield from visit(module.tree, False, False)


def absolute(module: Module, node: ast.ImportFrom) -> tuple[str, ...]:
    named = tuple(node.module.split(".")) if node.module else ()
    if node.level == 0:
        return named
    here = ("selvedge", *module.package)
    return (*here[: len(here) - node.level + 1], *named)


def bound_names(tree: ast.Module) -> set[str]:
    """What a package's `__init__` itself offers: imported, defined or assigned there."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def unknown_rooms(house: House) -> Iterator[str]:
    """Rooms that are not in the plan, code outside the rooms, and rooms without code."""
    for path in sorted(house.root.glob("*.py")):
        if path.name not in OUTSIDE_ROOMS:
            yield f"{path}: lies in no room"
    for room in sorted({module.room for module in house.modules.values()}):
        own = [module for module in house.modules.values() if module.room == room]
        if room not in FLOORS:
            yield f"{house.root / room}: is no room of the plan"
        if (room,) not in house.modules:
            yield f"{house.root / room}: has no __init__.py"
        if all(module.path.name == "__init__.py" for module in own):
            yield f"{house.root / room}: is empty"


def wrong_floors(house: House) -> Iterator[str]:
    for found in house.imports:
        own, other = found.module.room, found.room
        if other is None or other == own or own not in FLOORS:
            continue
        if other not in FLOORS:
            yield f"{found}: is no room of the plan"
        elif FLOORS[other] >= FLOORS[own]:
            yield f"{found}: floor {FLOORS[other]} is not below {own}'s floor {FLOORS[own]}"


def reaching_in(house: House) -> Iterator[str]:
    """Imports of another room's module instead of what its package offers."""
    for found in house.imports:
        if found.room is None or found.room == found.module.room:
            continue
        if found.target in ANNEXES and (found.inside_function or found.for_types):
            continue
        if len(found.target) > 2 and found.target not in BASES:
            yield f"{found}: reaches past {found.room}'s __init__"
        elif len(found.target) == 2 and found.name and (found.room, found.name) in house.modules:
            door = house.modules.get((found.room,))
            if door is None or found.name not in bound_names(door.tree):
                yield f"{found}: reaches past {found.room}'s __init__"


def late_imports(house: House) -> Iterator[str]:
    for found in house.imports:
        optional = found.target[0] in OPTIONAL and found.module.room in OPTIONAL_ROOMS
        optional = optional or (found.target in ANNEXES and found.module.room == "cli")
        if found.inside_function and not optional:
            yield f"{found}: inside a function"


def impure(house: House) -> Iterator[str]:
    for found in house.imports:
        if found.module.room in PURE and found.target[0] in IMPURE_MODULES:
            if found.target[0] == "random" and found.module.room in SEEDED:
                if found.name not in (None, "Random"):
                    yield f"{found}: only random.Random"
            else:
                yield f"{found}: not in a pure room"
    seeded = {found.module.parts for found in house.imports if found.target == ("random",)}
    for module in house.modules.values():
        if module.room in PURE:
            yield from impure_uses(module)
            yield from unseeded(module) if module.parts in seeded else ()


def impure_uses(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.removeprefix("datetime.") in IMPURE_CALLS or name in IMPURE_CALLS:
                yield f"{module.path}:{node.lineno}: calls {name}(), not in a pure room"


def unseeded(module: Module) -> Iterator[str]:
    """Uses of random's hidden generator, in a module that imports from random."""
    is_whole = any(
        alias.name == "random"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Random", "random.Random"):
            if not node.args:
                yield f"{module.path}:{node.lineno}: {ast.unparse(node.func)}() has no seed"
        elif isinstance(node, ast.Attribute) and is_whole:
            name = ast.unparse(node)
            if name.startswith("random.") and name != "random.Random":
                yield f"{module.path}:{node.lineno}: {name}: only random.Random"


def edges(house: House) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Who imports whom inside one room."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {parts: set() for parts in house.modules}
    for found in house.imports:
        if found.room == found.module.room:
            inner = found.target[1:]
            named = (*inner, found.name or "")
            graph[found.module.parts].add(named if named in house.modules else inner)
    return graph


def cycles(house: House) -> Iterator[str]:
    graph = edges(house)
    done: set[tuple[str, ...]] = set()

    def walk(node: tuple[str, ...], trail: tuple[tuple[str, ...], ...]) -> Iterator[str]:
        if node in trail:
            circle = [*trail[trail.index(node) :], node]
            yield "import cycle: " + " -> ".join(".".join(parts) for parts in circle)
        elif node not in done:
            for target in sorted(graph.get(node, ())):
                yield from walk(target, (*trail, node))
            done.add(node)

    for start in sorted(graph):
        yield from walk(start, ())


def check(problems: Iterator[str]) -> None:
    found = list(problems)
    assert not found, "\n" + "\n".join(found)


def test_every_room_is_in_the_plan_and_has_code() -> None:
    check(unknown_rooms(read_house(SOURCE)))


def test_imports_point_down() -> None:
    check(wrong_floors(read_house(SOURCE)))


def test_imports_go_through_the_door() -> None:
    check(reaching_in(read_house(SOURCE)))


def test_what_a_room_exports_is_there() -> None:
    for room in FLOORS:
        if (SOURCE / room).is_dir():
            door = importlib.import_module(f"selvedge.{room}")
            missing = [name for name in getattr(door, "__all__", ()) if not hasattr(door, name)]
            assert missing == [], room


def test_no_import_inside_a_function() -> None:
    check(late_imports(read_house(SOURCE)))


def test_pure_rooms_are_pure() -> None:
    check(impure(read_house(SOURCE)))


def test_no_cycles_inside_a_room() -> None:
    check(cycles(read_house(SOURCE)))


BROKEN_HOUSE = {
    "stray.py": "",
    "attic/box.py": "",
    "fabric/__init__.py": "",
    "wire/__init__.py": "from selvedge.wire.sse import read\nfrom . import json",
    "wire/sse.py": "from selvedge.wire.json import parse\nimport time\nprint(1)\nread = 1",
    "wire/json.py": "from .sse import read\nfrom typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    from selvedge.cache import Scope",
    "exchange/__init__.py": "from selvedge.wire.sse import read",
    "exchange/story.py": "from selvedge.wire import sse, json\nfrom selvedge import pop",
    "sim/__init__.py": "import random\nr = random.Random()\nx = random.random()",
    "sim/clock.py": "def late():\n    import numpy\nfrom random import Random, choice",
    "cli/__init__.py": "def f():\n    import numpy\n    import json\n",
    "cli/main.py": "from selvedge.wire import json, read",
}


def test_the_checks_find_what_they_look_for(tmp_path: Path) -> None:
    for name, text in BROKEN_HOUSE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    house = read_house(tmp_path)

    def lines(problems: Iterator[str]) -> list[str]:
        return [problem.replace(f"{tmp_path}/", "") for problem in problems]

    assert lines(unknown_rooms(house)) == [
        "stray.py: lies in no room",
        "attic: is no room of the plan",
        "attic: has no __init__.py",
        "fabric: is empty",
    ]
    assert lines(wrong_floors(house)) == [
        "exchange/story.py:2: imports selvedge (pop): floor 4 is not below exchange's floor 2",
        "wire/json.py:4: imports selvedge.cache (Scope): floor 1 is not below wire's floor 1",
    ]
    assert lines(reaching_in(house)) == [
        "exchange/__init__.py:1: imports selvedge.wire.sse (read): reaches past wire's __init__",
        "exchange/story.py:1: imports selvedge.wire (sse): reaches past wire's __init__",
    ]
    assert lines(late_imports(house)) == [
        "cli/__init__.py:3: imports json: inside a function",
        "sim/clock.py:2: imports numpy: inside a function",
    ]
    assert lines(impure(house)) == [
        "sim/clock.py:3: imports random (choice): only random.Random",
        "wire/sse.py:2: imports time: not in a pure room",
        "sim/__init__.py:2: random.Random() has no seed",
        "sim/__init__.py:3: random.random: only random.Random",
        "wire/sse.py:3: calls print(), not in a pure room",
    ]
    assert lines(cycles(house)) == ["import cycle: wire.json -> wire.sse -> wire.json"]
