"""Floor 4: the PoP process. HTTP server, command interpreter, settings, start and stop."""

from selvedge.pop.access_record import (
    user_here,
    write_access,
)
from selvedge.pop.cache_keeping import CACHE_FOLDER, CacheRun, take_run
from selvedge.pop.keeper import run_keeper
from selvedge.pop.process import IDENTITY_FILE, run_pop
from selvedge.pop.setting_tables import load_table, settings_table
from selvedge.pop.settings import Settings, host_and_port, is_loopback, load_settings
from selvedge.pop.workers import take_part

__all__ = [
    "CACHE_FOLDER",
    "IDENTITY_FILE",
    "CacheRun",
    "Settings",
    "host_and_port",
    "is_loopback",
    "load_settings",
    "load_table",
    "run_keeper",
    "run_pop",
    "settings_table",
    "take_part",
    "take_run",
    "user_here",
    "write_access",
]
