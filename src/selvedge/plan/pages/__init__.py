"""Answers as pages: self-contained HTML for a screen and for paper."""

from selvedge.plan.pages.write import draw_pages, draw_retrofit, write_pages, write_retrofit

__all__ = ["draw_pages", "draw_retrofit", "write_pages", "write_retrofit"]
