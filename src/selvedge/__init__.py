"""Selvedge: an edge inference fabric. Start at `selvedge.exchange`."""

__version__ = "0.1.0"
