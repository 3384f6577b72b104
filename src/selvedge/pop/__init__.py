"""Floor 4: the PoP process. HTTP server, command interpreter, settings, start and stop."""

from selvedge.pop.keeper import run_keeper
from selvedge.pop.process import run_pop
from selvedge.pop.settings import Settings, load_settings, settings_table
from selvedge.pop.workers import take_part

__all__ = [
    "Settings",
    "load_settings",
    "run_keeper",
    "run_pop",
    "settings_table",
    "take_part",
]
