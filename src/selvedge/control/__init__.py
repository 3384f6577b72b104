"""Floor 5: the control plane. For now its embedded form: one machine, one fleet, files."""

from selvedge.control.collector import CollectorSettings, run_collector
from selvedge.control.home import DEFAULT_HOME, Home, Running, RunningPoP
from selvedge.control.local import LocalFabric, free_port, weights_digests

__all__ = [
    "DEFAULT_HOME",
    "CollectorSettings",
    "Home",
    "LocalFabric",
    "Running",
    "RunningPoP",
    "free_port",
    "run_collector",
    "weights_digests",
]
