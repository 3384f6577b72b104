"""Will it fit: weights, memory of context, requests at once, for a model on GPUs."""

from selvedge.plan.fit.answers import (
    Answer,
    Asked,
    Row,
    answer,
    known,
    sheet_of,
    sheet_of_published,
    sheets_of_known,
)
from selvedge.plan.fit.architectures import (
    Architecture,
    Counted,
    Latent,
    find_architecture,
    read_architectures,
)
from selvedge.plan.fit.capacity import GIB, Fit, Serving, default_context, fit
from selvedge.plan.fit.config_json import read_config
from selvedge.plan.fit.gpus import Gpu, find_gpu, read_gpus
from selvedge.plan.fit.names import nearest
from selvedge.plan.fit.published import Checked, Measured, check_published, read_measured
from selvedge.plan.fit.quantisations import FORMATS, KV_BITS, Format, find_format
from selvedge.plan.fit.remedies import remedies, why_not
from selvedge.plan.fit.sheets import Sheet

__all__ = [
    "FORMATS",
    "GIB",
    "KV_BITS",
    "Answer",
    "Architecture",
    "Asked",
    "Checked",
    "Counted",
    "Fit",
    "Format",
    "Gpu",
    "Latent",
    "Measured",
    "Row",
    "Serving",
    "Sheet",
    "answer",
    "check_published",
    "default_context",
    "find_architecture",
    "find_format",
    "find_gpu",
    "fit",
    "known",
    "nearest",
    "read_architectures",
    "read_config",
    "read_gpus",
    "read_measured",
    "remedies",
    "sheet_of",
    "sheet_of_published",
    "sheets_of_known",
    "why_not",
]
