"""The files: HTML pages that need nothing else, neither from the network nor from a disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from selvedge.plan.history import BadPlan
from selvedge.plan.pages import words
from selvedge.plan.pages.report import Pages
from selvedge.plan.pages.retrofit import page_of
from selvedge.plan.utilisation import Utilisation

if TYPE_CHECKING:
    from selvedge.plan.placement import Report


def draw_pages(result: Utilisation) -> str:
    """The page's text: a report of a fleet, and a page for each jurisdiction."""
    pages = Pages(result)
    laws = [pages.page(law) for law in pages.law_names()]
    return _environment().get_template("report.html").render(**pages.whole(), pages=laws)


def draw_retrofit(report: Report) -> str:
    """The page's text: which sites next, how good that is, when, and what was assumed."""
    return _environment().get_template("retrofit.html").render(**page_of(report))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("selvedge.plan.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(words, name) for name in words.__all__}
    return environment


def write_pages(result: Utilisation, path: Path) -> None:
    """Write it whole or not at all. Raises `BadPlan` where it cannot be written."""
    _write(draw_pages(result), path)


def write_retrofit(report: Report, path: Path) -> None:
    """Write it whole or not at all. Raises `BadPlan` where it cannot be written."""
    _write(draw_retrofit(report), path)


def _write(text: str, path: Path) -> None:
    path = path.resolve()
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")  # a pipe or a device is written to, and stays
            return
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        words_ = error.strerror or str(error)
        raise BadPlan(f"{path} cannot be written ({words_}); name another file.") from error
