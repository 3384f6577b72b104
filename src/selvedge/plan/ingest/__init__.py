"""From what operators have to a history: counters, series, logs, tables."""

from selvedge.plan.ingest.forms import FORMS
from selvedge.plan.ingest.reading import BATCH_ROWS, BYTES, MEASURES, Batch, Form, Kind, SourceFile

__all__ = [
    "BATCH_ROWS",
    "BYTES",
    "FORMS",
    "MEASURES",
    "Batch",
    "Form",
    "Kind",
    "SourceFile",
]
