"""An economics answer as one page of HTML that needs nothing else, on a screen and on paper."""

from __future__ import annotations

from html import escape
from typing import Final

from selvedge.plan.economics.answers import Economics
from selvedge.plan.economics.charts import draw_svg, place
from selvedge.plan.economics.sheets import sheets_of
from selvedge.plan.economics.words import plain
from selvedge.plan.fit import Sheet

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;color:#1f2937;margin:2rem auto;max-width:72rem;
padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin:2.2rem 0 .5rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem}
th,td{padding:.25rem .6rem;border-bottom:1px solid #e5e7eb;text-align:left;vertical-align:top;
white-space:nowrap}td:last-child{white-space:normal}
th.r,td.r{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th{background:#f3f4f6}p.n{margin:.35rem 0;max-width:60rem;color:#4b5563;font-size:.9rem}
b.supported{color:#166534}b.not-supported{color:#9f1239}b.cannot-say{color:#92400e}
svg{max-width:100%;height:auto}
@media print{body{margin:0;font-size:11px;max-width:none}h2{break-after:avoid}
tr{break-inside:avoid}.wide{overflow:visible}table{font-size:8.5px}}
"""
_WORDS: Final = {"SUPPORTED", "NOT SUPPORTED", "CANNOT SAY"}


def draw_page(found: Economics) -> str:
    """The page. The same answer gives the same bytes."""
    chart = draw_svg(place(found.tornado_of, found.tornado_middle, found.tornado))
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(found.title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Does it pay? {escape(found.title)}</h1>",
        f'<p class="n">Inputs as of {escape(found.as_of)}, {found.draws:,} draws, seed'
        f" {found.seed}. Money is US dollars.</p>",
    ]
    for sheet in sheets_of(found):
        parts.append(_section(sheet))
        if sheet.title.startswith("Sensitivity"):
            parts.append(f'<div class="wide">{chart}</div>')
    parts += [_section(_inputs(found)), "</body></html>\n"]
    return "".join(parts)


def _section(sheet: Sheet) -> str:
    parts = [f"<h2>{escape(sheet.title)}</h2>"]
    if sheet.rows:
        parts.append('<div class="wide"><table><thead><tr>')
        parts += [_cell("th", name.removeprefix(">"), name[:1] == ">") for name in sheet.columns]
        parts.append("</tr></thead><tbody>")
        for row in sheet.rows:
            cells = zip(sheet.columns, row, strict=True)
            parts.append("<tr>")
            parts += [_cell("td", text, name[:1] == ">") for name, text in cells]
            parts.append("</tr>")
        parts.append("</tbody></table></div>")
    parts += [f'<p class="n">{escape(note)}</p>' for note in sheet.notes]
    return "".join(parts)


def _cell(tag: str, text: str, is_right: bool) -> str:
    shown = escape(text)
    if text in _WORDS:
        kind = text.lower().replace(" ", "-")
        shown = f'<b class="{kind}">{shown}</b>'
    side = ' class="r"' if is_right else ""
    return f"<{tag}{side}>{shown}</{tag}>"


def _inputs(found: Economics) -> Sheet:
    rows = tuple(
        (
            *(name, plain(one.value)),
            "" if one.low is None else plain(one.low),
            "" if one.high is None else plain(one.high),
            *("" if one.is_sure else one.spread, one.as_of, one.source),
        )
        for name, one in found.inputs.items()
    )
    columns = ("input", ">value", ">low", ">high", "spread", "as of", "whose figure")
    return Sheet(title="Inputs", columns=columns, rows=rows)
