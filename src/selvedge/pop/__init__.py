"""Floor 4: the PoP process. HTTP server, command interpreter, settings, start and stop."""

from selvedge.pop.process import run_pop
from selvedge.pop.settings import Settings, load_settings, settings_table

__all__ = ["Settings", "load_settings", "run_pop", "settings_table"]
