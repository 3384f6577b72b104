"""The utilisation report as pages: self-contained HTML for a screen and for paper."""

from selvedge.plan.pages.write import draw_pages, write_pages

__all__ = ["draw_pages", "write_pages"]
