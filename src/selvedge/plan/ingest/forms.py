"""The forms that can be read: a new one is a module with a reader, and a row here."""

from __future__ import annotations

from typing import Final

from selvedge.plan.ingest.logs import LOG_FORMS
from selvedge.plan.ingest.prometheus import OPENMETRICS, PROMETHEUS
from selvedge.plan.ingest.reading import Form
from selvedge.plan.ingest.snmp import SNMP
from selvedge.plan.ingest.tabular import CSV, PARQUET

_ROWS: Final[tuple[Form, ...]] = (SNMP, PROMETHEUS, OPENMETRICS, CSV, PARQUET, *LOG_FORMS)
FORMS: Final[dict[str, Form]] = {form.name: form for form in _ROWS}
"""By the name that `--form` is given."""
