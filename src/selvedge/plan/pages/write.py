"""The file: one HTML page that needs nothing else, neither from the network nor from a disk."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from selvedge.plan.history import BadPlan
from selvedge.plan.pages import words
from selvedge.plan.pages.report import Pages
from selvedge.plan.utilisation import Utilisation


def draw_pages(result: Utilisation) -> str:
    """The page's text: a report of a fleet, and a page for each jurisdiction."""
    environment = Environment(
        loader=PackageLoader("selvedge.plan.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(words, name) for name in words.__all__}
    pages = Pages(result)
    laws = [pages.page(law) for law in pages.law_names()]
    return environment.get_template("report.html").render(**pages.whole(), pages=laws)


def write_pages(result: Utilisation, path: Path) -> None:
    """Write it whole or not at all. Raises `BadPlan` where it cannot be written."""
    text = draw_pages(result)
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        words_ = error.strerror or str(error)
        raise BadPlan(f"{path} cannot be written ({words_}); name another file.") from error
