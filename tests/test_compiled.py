"""What `make compile` compiles exists, and means the same compiled as interpreted."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

import selvedge

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "selvedge"
SERVING, SIM = (
    (ROOT / "scripts" / name).read_text("utf-8").split()
    for name in ("compiled.txt", "compiled_sim.txt")
)
LISTED = [*SERVING, *SIM]
PACKAGE = Path(selvedge.__file__).parent
IS_COMPILED = "compiled" in PACKAGE.parts
# The simulator's modules are compiled for those who ask.
MADE = LISTED if (PACKAGE.parent / ".compiled_sim").exists() else SERVING
NAMES = [one.removesuffix(".py").replace("/", ".") for one in MADE]
# Options that are inherited from a base; mypyc drops them from a class statement.
PLAIN = {"_Entry"}  # of strings and a number alone
OPTIONS = ("frozen", "eq", "order", "tag", "omit_defaults", "forbid_unknown_fields", "array_like")


def test_what_is_compiled_exists_once_and_in_order() -> None:
    for listed in (SERVING, SIM):
        assert sorted(set(listed)) == listed
    assert all(one.startswith("sim/") for one in SIM)
    assert not any(one.startswith("sim/") for one in SERVING)
    for one in LISTED:
        assert (SOURCE / one).is_file(), one


def test_nothing_that_may_be_compiled_is_referenced_weakly() -> None:
    """A compiled class that derives from an interpreted one is freed under its references."""
    weak = re.compile(r"\bweakref\b")
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if weak.search(path.read_text("utf-8"))
    }
    assert found == {"pop/greetings.py"}, "which references an interpreted class of its own"


def module(name: str) -> ModuleType:
    return importlib.import_module(f"selvedge.{name}")


@pytest.mark.skipif(not IS_COMPILED, reason="runs on the compiled package: make test does both")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_listed_is_an_extension_module(name: str) -> None:
    file = module(name).__file__
    assert file is not None
    assert file.endswith(".so")


def structs(namespace: dict[str, object], name: str) -> dict[str, type[msgspec.Struct]]:
    return {
        key: value
        for key, value in namespace.items()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == f"selvedge.{name}"
    }


@pytest.mark.skipif(not IS_COMPILED, reason="runs on the compiled package: make test does both")
@pytest.mark.parametrize("name", NAMES)
def test_structs_are_what_their_source_says(name: str) -> None:
    file = SOURCE / f"{name.replace('.', '/')}.py"
    source = runpy.run_path(str(file), run_name=f"selvedge.{name}")
    meant, made = structs(source, name), structs(vars(module(name)), name)
    assert meant.keys() == made.keys()
    for key, one in meant.items():
        other = made[key]
        assert one.__struct_fields__ == other.__struct_fields__, key
        assert one.__struct_defaults__ == other.__struct_defaults__, key
        for option in OPTIONS:
            ours, theirs = (getattr(each.__struct_config__, option) for each in (one, other))
            assert ours == theirs, f"{key}: {option} (derive from fabric.value.Value)"


def test_what_is_decoded_is_not_compiled() -> None:
    """mypyc keeps of a field's type only its class: `str | None` and `tuple[int, ...]` are lost."""
    decoded = re.compile(r"(?:Decoder\(|\btype=)(?:\w+\[)*(\w+)")
    names = {
        name
        for path in SOURCE.rglob("*.py")
        for name in decoded.findall(path.read_text("utf-8"))
        if name not in PLAIN
    }
    assert {"Receipt", "Chunk", "ChatBody", "Answer"} <= names
    for one in LISTED:
        made = re.findall(r"^class (\w+)\(", (SOURCE / one).read_text("utf-8"), re.M)
        assert not names.intersection(made), f"{one}: {names.intersection(made)}"
