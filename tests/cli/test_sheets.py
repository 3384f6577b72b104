"""Tables of words: one line a row into a pipe, and never wider than the terminal it is on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from selvedge.cli import sheets

COLUMNS = ("offer", ">a rather long heading", ">second", ">third", "what it is taken to mean")
ROWS = [
    (
        "llama-8b-l4",
        "12",
        "1,234",
        "$5",
        "a sentence that is much too long for a column of its own",
    ),
    ("other", "-1", "99", "$6", "short"),
]
NOTES = ["- a note " + "word " * 30, "  inner " + "word " * 30]


def shown(monkeypatch: pytest.MonkeyPatch, width: int, *, terminal: bool) -> list[str]:
    out = io.StringIO()

    def console() -> Console:
        return Console(
            file=out,
            force_terminal=terminal,
            width=max(width, 220),
            soft_wrap=True,
            color_system=None,
        )

    monkeypatch.setattr(sheets, "console", console)
    monkeypatch.setenv("COLUMNS", str(width))
    sheets.print_sheet("A title", COLUMNS, ROWS, NOTES)
    return out.getvalue().splitlines()


def test_into_a_pipe_a_row_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 40, terminal=False)
    assert len(lines) == 1 + 1 + len(ROWS) + len(NOTES)
    assert lines[2].split()[:4] == ["llama-8b-l4", "12", "1,234", "$5"]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_on_a_terminal_no_line_is_wider_and_no_cell_is_lost(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    lines = shown(monkeypatch, width, terminal=True)
    assert max(len(line.rstrip()) for line in lines) <= width
    words = " ".join(lines).split()
    for row in ROWS:
        assert all(word in words for cell in row for word in cell.split())
    assert words.count("word") == 60


def test_what_fits_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 200, terminal=True)
    assert lines[1].split()[:4] == ["offer", "a", "rather", "long"]
    assert len(lines) == 1 + 1 + len(ROWS) + len(NOTES)


def test_a_part_repeats_the_rows_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 40, terminal=True)
    assert sum(line.startswith("llama-8b-l4") for line in lines) == 2
    assert any(line.startswith("  word") for line in lines), "a note's next line is set in"
