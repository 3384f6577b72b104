"""What tests, benchmarks and torture share: a scripted engine, and a loop that leaves nothing.

The engine is in `tests.support.scripted_engine`, which is also a program and so not imported here.
"""

from tests.support.loop import run
from tests.support.script import (
    Answer,
    Cut,
    Drop,
    Gate,
    Hang,
    Raw,
    Received,
    Reply,
    Reset,
    Script,
    Status,
    ToolCall,
)

__all__ = [
    "Answer",
    "Cut",
    "Drop",
    "Gate",
    "Hang",
    "Raw",
    "Received",
    "Reply",
    "Reset",
    "Script",
    "Status",
    "ToolCall",
    "run",
]
