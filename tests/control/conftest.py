"""Databases for the tests of the control plane."""

from __future__ import annotations

from tests.support.databases import database_url, postgres

__all__ = ["database_url", "postgres"]
