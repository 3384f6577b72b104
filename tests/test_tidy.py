"""The ratchet: sizes, names and words that the tree may not exceed.

An excess that exists is listed in ALLOWED with its measure, and may only shrink: growing fails, and
so does an entry that is larger than what is left, or that nothing needs any more.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# "rule path name" -> measure; for example "function-lines src/selvedge/x/y.py serve": 71
ALLOWED: dict[str, int] = {}

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
POSITIONAL_MAX = 5
COLUMNS_MAX = 100
VAGUE_NAMES = {"utils", "helpers", "manager", "service", "common", "base"}
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter"}
MUTABLE_CALLS |= {"OrderedDict", "WeakValueDictionary", "WeakKeyDictionary"}
CODE_SUFFIXES = {".py", ".sh", ".yaml", ".yml", ".sql", ".js", ".css", ".html", ""}
# Written in pieces, so that this file does not contain what it forbids.
LATER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
REGISTRY = re.compile(
    r"py" + r"pi\.(org|python)|python" + r"hosted|np" + r"mjs\.|crates" + r"\.io|ruby" + r"gems\."
    r"|proxy\.go" + r"lang|pkg" + r"\.dev"
)
MACHINE_PATH = re.compile(r"(?<![\w.~$}>-])/(wo" + r"rk|ro" + r"ot|home|Us" + r"ers)/[\w.]")


@dataclass(frozen=True, slots=True)
class Excess:
    """Something over a limit. A measure of 1 stands for what should not be there at all."""

    rule: str
    path: str
    name: str
    measure: int = 1

    @property
    def key(self) -> str:
        return f"{self.rule} {self.path} {self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """One text file of the repository; `tree` for Python only."""

    path: str
    text: str
    tree: ast.Module | None

    @property
    def is_code(self) -> bool:
        return Path(self.path).suffix in CODE_SUFFIXES and Path(self.path).name != "LICENSE"

    @property
    def is_source(self) -> bool:
        return self.path.startswith("src/")


def read_sources(root: Path) -> list[Source]:
    sources = []
    for path in tracked(root):
        try:
            text = (root / path).read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # binary, or deleted and not yet committed so
        tree = ast.parse(text, path) if path.endswith(".py") else None
        sources.append(Source(path, text, tree))
    return sources


def tracked(root: Path) -> list[str]:
    """What git tracks or would track; without git, everything that is not hidden."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        hidden = re.compile(r"(^|/)(\.(venv|git|\w+_cache|hypothesis|selvedge)|__pycache__)/")
        return sorted(str(path) for path in paths if not hidden.search(str(path)))
    return sorted(set(filter(None, listed.stdout.split("\0"))))


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Every function with its qualified name."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield prefix + child.name, child
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")
            else:
                yield from visit(child, prefix)

    return visit(tree, "")


def long_functions(source: Source) -> Iterator[Excess]:
    for name, node in functions(source.tree) if source.tree else ():
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield Excess("function-lines", source.path, name, lines)


def long_files(source: Source) -> Iterator[Excess]:
    lines = source.text.count("\n")
    if source.is_code and lines > FILE_LINES_MAX:
        yield Excess("file-lines", source.path, "-", lines)


def many_positionals(source: Source) -> Iterator[Excess]:
    for name, node in functions(source.tree) if source.tree else ():
        given = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        count = len(given) - (given[:1] in (["self"], ["cls"]))
        if count > POSITIONAL_MAX:
            yield Excess("positionals", source.path, name, count)


def long_lines(source: Source) -> Iterator[Excess]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if source.is_code and len(line) > COLUMNS_MAX:
            yield Excess("columns", source.path, str(number), len(line))


def missing_docstrings(source: Source) -> Iterator[Excess]:
    """Public modules, functions and classes; of methods, those that are a protocol's promise."""
    if source.tree is None or not source.is_source:
        return
    is_private = re.match(r"_(?!_init__)", Path(source.path).stem)
    if ast.get_docstring(source.tree) is None and not is_private:
        yield Excess("docstring", source.path, "-")
    for node in source.tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None and not is_overload(node):
                yield Excess("docstring", source.path, node.name)
            yield from missing_promises(source, node)


def missing_promises(source: Source, node: ast.stmt) -> Iterator[Excess]:
    if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(b) for b in node.bases):
        for child in node.body:
            if isinstance(child, Function) and ast.get_docstring(child) is None:
                yield Excess("docstring", source.path, f"{node.name}.{child.name}")


def is_overload(node: Function | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def vague_modules(source: Source) -> Iterator[Excess]:
    for part in Path(source.path).with_suffix("").parts:
        if source.tree is not None and part.strip("_") in VAGUE_NAMES:
            yield Excess("vague-name", source.path, part)


def postponed(source: Source) -> Iterator[Excess]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if LATER.search(line):
            yield Excess("postponed", source.path, str(number))


def module_state(source: Source) -> Iterator[Excess]:
    """Lower-case names bound to something mutable when a module is imported, and `global`."""
    if source.tree is None or not source.is_source:
        return
    for node in source.tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and is_mutable(node.value):
            final = isinstance(node, ast.AnnAssign) and "Final" in ast.unparse(node.annotation)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in (target.id for target in targets if isinstance(target, ast.Name)):
                if not final and not name.startswith("__") and not name.isupper():
                    yield Excess("module-state", source.path, name)
    for inner in ast.walk(source.tree):
        if isinstance(inner, ast.Global):
            yield Excess("module-state", source.path, "global " + ", ".join(inner.names))


def is_mutable(value: ast.expr | None) -> bool:
    literals = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    if isinstance(value, ast.Call):
        called = value.func.value if isinstance(value.func, ast.Subscript) else value.func
        return ast.unparse(called).split(".")[-1] in MUTABLE_CALLS
    return isinstance(value, literals)


def foreign_hosts(source: Source) -> Iterator[Excess]:
    """A package registry's host, or an absolute path of somebody's machine."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if REGISTRY.search(line):
            yield Excess("registry-host", source.path, str(number))
        if MACHINE_PATH.search(line):
            yield Excess("machine-path", source.path, str(number))


RULES: list[Callable[[Source], Iterator[Excess]]] = [
    long_functions,
    long_files,
    many_positionals,
    long_lines,
    missing_docstrings,
    vague_modules,
    postponed,
    module_state,
    foreign_hosts,
]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return read_sources(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_tidy(rule: Callable[[Source], Iterator[Excess]], sources: list[Source]) -> None:
    found = [excess for source in sources for excess in rule(source)]
    over = [excess for excess in found if excess.measure > ALLOWED.get(excess.key, 0)]
    assert not over, "\n" + "\n".join(f"{excess.key}: {excess.measure}" for excess in over)


def test_the_allowed_excesses_only_shrink(sources: list[Source]) -> None:
    found = {e.key: e.measure for rule in RULES for source in sources for e in rule(source)}
    slack = {key: limit for key, limit in ALLOWED.items() if found.get(key, 0) < limit}
    assert not slack, f"lower these to what is left, or remove them: {slack}"


def test_the_rules_find_what_they_look_for() -> None:
    text = (
        "seen = {}\nNAMES = []\n_cache: dict[str, int] = dict()\nkept: Final = []\n"
        "def wide(a, b, c, d, e, f):\n    global seen\n" + "    pass\n" * 60
    )
    text += "def _hidden(): ...\nclass Port(Protocol):\n    'Yes.'\n    def send(self): ...\n"
    text += "# TO" + "DO: see /ho" + "me/me/notes and https://py" + "pi.org/x" + "x" * 60 + "\n"
    source = Source("src/selvedge/wire/utils.py", text, ast.parse(text))
    excesses = [excess for rule in RULES for excess in rule(source)]
    assert [f"{e.rule} {e.name} {e.measure}" for e in excesses] == [
        "function-lines wide 62",
        "positionals wide 6",
        f"columns 71 {len(text.splitlines()[-1])}",
        "docstring - 1",
        "docstring wide 1",
        "docstring Port.send 1",
        "vague-name utils 1",
        "postponed 71 1",
        "module-state seen 1",
        "module-state _cache 1",
        "module-state global seen 1",
        "registry-host 71 1",
        "machine-path 71 1",
    ]
