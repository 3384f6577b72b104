"""From what operators have to a history: counters, series, logs, tables."""

from selvedge.plan.ingest.accounts import Account
from selvedge.plan.ingest.forms import FORMS
from selvedge.plan.ingest.ingestion import Ingestion, Watcher
from selvedge.plan.ingest.mapping import Mapping, read_mapping
from selvedge.plan.ingest.reading import BATCH_ROWS, BYTES, MEASURES, Batch, Form, Kind, SourceFile

__all__ = [
    "BATCH_ROWS",
    "BYTES",
    "FORMS",
    "MEASURES",
    "Account",
    "Batch",
    "Form",
    "Ingestion",
    "Kind",
    "Mapping",
    "SourceFile",
    "Watcher",
    "read_mapping",
]
