"""Floor 5: the control plane. For now its embedded form: one machine, one fleet, files."""

from selvedge.control.accounts import Snapshot, usage_of
from selvedge.control.collector import CollectorSettings, run_collector
from selvedge.control.home import DEFAULT_HOME, Home, Running, RunningPoP
from selvedge.control.home_collectors import (
    collector_commands,
    collector_directory,
    plan_collectors,
)
from selvedge.control.local import LocalFabric, free_port, weights_digests
from selvedge.control.reconcile import Finding, Reconciled, reconcile

__all__ = [
    "DEFAULT_HOME",
    "CollectorSettings",
    "Finding",
    "Home",
    "LocalFabric",
    "Reconciled",
    "Running",
    "RunningPoP",
    "Snapshot",
    "collector_commands",
    "collector_directory",
    "free_port",
    "plan_collectors",
    "reconcile",
    "run_collector",
    "usage_of",
    "weights_digests",
]
