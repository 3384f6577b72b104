"""Pages of a PDF that people read: colours, margins, feet with the number of pages. ReportLab.

The fonts are those that every reader has, so letters outside Latin-1 are shown as ``?``.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from selvedge.fabric import SelvedgeError

INK: Final = "#1f2430"
PALE: Final = "#6b7280"
RULE: Final = "#d5d9e0"
BAND: Final = "#f1f3f6"
MARGIN: Final = 45.0
"""Of each page, in points."""
WIDTH: Final = 505.0
"""Between the margins of A4."""


class Titles(NamedTuple):
    """What a document is called, by whom it is, and what stands at the foot of each page."""

    title: str
    author: str
    subject: str
    foot: str


class PageHeading(NamedTuple):
    """Words above what follows."""

    words: str


class PageText(NamedTuple):
    """A paragraph."""

    words: str


class PageFacts(NamedTuple):
    """Names and what they are; ``strong`` are the names of those that are looked for first."""

    rows: tuple[tuple[str, str], ...]
    strong: tuple[str, ...] = ()


class PageTable(NamedTuple):
    """Rows of words; the last ``figures`` columns are figures; ``shares`` of the width, of 100."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    figures: int
    shares: tuple[int, ...]


Element = PageHeading | PageText | PageFacts | PageTable


def has_reportlab() -> bool:
    """Whether PDFs can be drawn."""
    return importlib.util.find_spec("reportlab") is not None


def check_reportlab() -> None:
    """Raises `SelvedgeError` where PDFs cannot be drawn, before anything is."""
    if not has_reportlab():
        raise SelvedgeError("a PDF needs ReportLab: pip install 'selvedge[control]'")


def build_pdf(titles: Titles, story: Sequence[Any]) -> bytes:  # Any: ReportLab's flowables
    """The document, the same bytes for the same story."""
    from reportlab.lib.pagesizes import A4  # noqa: PLC0415 (an extra)
    from reportlab.platypus import SimpleDocTemplate  # noqa: PLC0415

    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN + 12,
        title=latin(titles.title),
        author=latin(titles.author),
        subject=latin(titles.subject),
        creator="Selvedge",
        invariant=1,
    )
    document.build(list(story), canvasmaker=_numbered(titles.foot))
    return file.getvalue()


def _numbered(words: str) -> Any:  # Any: ReportLab has no types
    """A canvas that knows how many pages there are when it writes their feet."""
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.pdfgen.canvas import Canvas  # noqa: PLC0415

    class Numbered(Canvas):  # type: ignore[misc]  # no types
        def __init__(self, *given: Any, **named: Any) -> None:  # Any: as its base
            super().__init__(*given, **named)
            self._pages: list[dict[str, Any]] = []  # Any: as its base keeps them

        def showPage(self) -> None:
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for at, page in enumerate(self._pages, 1):
                self.__dict__.update(page)
                self.setFont("Helvetica", 7.5)
                self.setFillColor(HexColor(PALE))
                self.drawString(MARGIN, 30, latin(words))
                self.drawRightString(self._pagesize[0] - MARGIN, 30, f"{at} / {len(self._pages)}")
                super().showPage()
            super().save()

    return Numbered


def text_styles() -> tuple[Any, Any]:  # Any: ReportLab's styles
    """Of running text and of headings."""
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415

    text = ParagraphStyle(
        "text",
        fontName="Helvetica",
        fontSize=8.5,
        leading=12,
        leftIndent=-6,
        textColor=HexColor(INK),
        spaceAfter=5,
    )
    heading = ParagraphStyle(
        "heading",
        parent=text,
        fontName="Helvetica-Bold",
        fontSize=10.5,
        leading=14,
        spaceBefore=10,
        spaceAfter=4,
        keepWithNext=1,
    )
    return text, heading


def draw_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[float], right: int
) -> Any:  # Any: a flowable
    """A table whose last ``right`` columns are figures; long words go on in the next line."""
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.lib.styles import ParagraphStyle  # noqa: PLC0415
    from reportlab.platypus import LongTable, Paragraph  # noqa: PLC0415

    plain = ParagraphStyle(
        "cell", fontName="Helvetica", fontSize=7.5, leading=9.5, textColor=HexColor(INK)
    )
    plain.splitLongWords = 1
    figures = len(head) - right
    cells = [
        [
            Paragraph(escaped(cell), plain) if at < figures else latin(cell)
            for at, cell in enumerate(row)
        ]
        for row in rows
    ]
    table = LongTable([list(head), *cells], colWidths=list(widths), repeatRows=1)
    table.setStyle(
        [
            ("FONT", (0, 0), (-1, -1), "Helvetica", 7.5),
            ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 7.5),
            ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
            ("TEXTCOLOR", (0, 0), (-1, 0), HexColor(PALE)),
            ("LINEBELOW", (0, 0), (-1, 0), 0.8, HexColor(INK)),
            ("LINEBELOW", (0, 1), (-1, -1), 0.25, HexColor(RULE)),
            ("ALIGN", (figures, 0), (-1, -1), "RIGHT"),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 2.2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2.8),
            ("LEFTPADDING", (0, 0), (-1, -1), 3),
            ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return table


def draw_pages(titles: Titles, elements: Iterable[Element]) -> bytes:
    """A document of plain elements, one below the other. Raises `SelvedgeError`."""
    check_reportlab()
    from reportlab.platypus import Paragraph, Spacer  # noqa: PLC0415 (an extra)

    text, heading = text_styles()
    story: list[Any] = _top(titles)  # Any: ReportLab's flowables
    for one in elements:
        match one:
            case PageHeading():
                story.append(Paragraph(escaped(one.words), heading))
            case PageText():
                story.append(Paragraph(escaped(one.words), text))
            case PageFacts():
                story += [_facts(one), Spacer(1, 8)]
            case PageTable():
                head = [name[:1].upper() + name[1:] for name in one.head]
                widths = [share * WIDTH / 100 for share in one.shares]
                story.append(draw_table(head, one.rows, widths, one.figures))
    return build_pdf(titles, story)


def _top(titles: Titles) -> list[Any]:  # Any: flowables
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.platypus import Spacer, Table  # noqa: PLC0415

    table = Table([[latin(titles.title), latin(titles.author)]], colWidths=[303, 202])
    table.setStyle(
        [
            ("FONT", (0, 0), (0, 0), "Helvetica-Bold", 20),
            ("FONT", (1, 0), (1, 0), "Helvetica-Bold", 11),
            ("ALIGN", (1, 0), (1, 0), "RIGHT"),
            ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
            ("TEXTCOLOR", (0, 0), (-1, -1), HexColor(INK)),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 10),
            ("LINEBELOW", (0, 0), (-1, -1), 1.2, HexColor(INK)),
        ]
    )
    return [table, Spacer(1, 4)]


def _facts(facts: PageFacts) -> Any:  # Any: a flowable
    from reportlab.lib.colors import HexColor  # noqa: PLC0415
    from reportlab.platypus import Table  # noqa: PLC0415

    rows = [[latin(cell) for cell in row] for row in facts.rows]
    table = Table(rows, colWidths=[72, WIDTH - 72])
    strong = [
        ("FONT", (1, at), (1, at), "Helvetica-Bold", 8)
        for at, row in enumerate(facts.rows)
        if row[0] in facts.strong
    ]
    table.setStyle(
        [
            ("FONT", (0, 0), (-1, -1), "Helvetica", 8),
            *strong,
            ("TEXTCOLOR", (0, 0), (0, -1), HexColor(PALE)),
            ("TEXTCOLOR", (1, 0), (1, -1), HexColor(INK)),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]
    )
    return table


def latin(words: str) -> str:
    """Words in the letters that the fonts have."""
    return words.encode("latin-1", "replace").decode("latin-1")


def escaped(words: str) -> str:
    """Words as they are, in ReportLab's own markup."""
    return latin(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
