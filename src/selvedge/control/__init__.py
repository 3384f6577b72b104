"""Floor 5: the control plane. Tenants, keys, releases; and a whole fleet on one machine.

What needs the `control` extra is brought in when it is first used (`extra`), so that everything
else runs without it.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Final,
)

from selvedge.control.accounts import (
    Snapshot,
    usage_of,
)
from selvedge.control.admin_errors import (
    admin_errors_table,
)
from selvedge.control.collector import (
    CollectorSettings,
    run_collector,
)
from selvedge.control.demand import DemandSeen, ask_with, observe_demand
from selvedge.control.extra import (
    has_control_extra,
    load_part,
    publish_prices,
    seeding_of,
)
from selvedge.control.home import (
    DEFAULT_HOME,
    ControlRunning,
    Home,
    Running,
    RunningPoP,
)
from selvedge.control.home_collectors import (
    collector_commands,
    collector_directories,
    collector_directory,
    collector_key_file,
    plan_collectors,
    written_collectors,
)
from selvedge.control.home_control import (
    written_control,
)
from selvedge.control.home_logs import (
    log_commands,
    log_directory,
    log_folders,
    plan_logs,
    written_logs,
)
from selvedge.control.invoice_checks import (
    InvoicesChecked,
    check_invoices,
)
from selvedge.control.invoice_store import (
    InvoiceStore,
)
from selvedge.control.invoicing import (
    Invoicing,
    Receipts,
    book_of,
    make_again,
)
from selvedge.control.kept_releases import (
    KeptReleases,
    public_key_of,
)
from selvedge.control.local import (
    LocalFabric,
    free_port,
    weights_digests,
)
from selvedge.control.log_process import (
    LogSettings,
    run_log,
    run_witness,
)
from selvedge.control.policy_simulations import (
    at_stake,
    simulate_change,
)
from selvedge.control.pop_logs import (
    LogSources,
    logs_are_kept,
    note_access,
)
from selvedge.control.proving import (
    Proving,
    home_log_of,
)
from selvedge.control.reconcile import (
    Finding,
    Reconciled,
    reconcile,
)
from selvedge.control.residency_reports import (
    Reporting,
    Wish,
    sources_for_report,
)
from selvedge.control.roles import (
    ROLES,
    roles_table,
)
from selvedge.control.savings import saved_of
from selvedge.control.service_files import (
    read_maintenance,
)
from selvedge.control.service_reports import (
    ServiceSources,
    burn_now,
    credits_of,
    report_month,
)
from selvedge.control.settings import (
    CONTROL_ENV_PREFIX,
    ControlSettings,
)
from selvedge.control.spend_forecasts import (
    TenantForecast,
    forecasts_of,
)
from selvedge.control.witness import (
    WitnessSettings,
)

__all__ = [
    "CONTROL_ENV_PREFIX",
    "DEFAULT_HOME",
    "ROLES",
    "CollectorSettings",
    "ControlRunning",
    "ControlSettings",
    "Database",
    "DemandSeen",
    "Finding",
    "Home",
    "InvoiceStore",
    "InvoicesChecked",
    "Invoicing",
    "KeptReleases",
    "LocalFabric",
    "LogSettings",
    "LogSources",
    "Proving",
    "Receipts",
    "Reconciled",
    "Reporting",
    "Running",
    "RunningPoP",
    "ServiceSources",
    "Snapshot",
    "TenantForecast",
    "Wish",
    "WitnessSettings",
    "admin_errors_table",
    "ask_with",
    "at_stake",
    "back_up",
    "book_of",
    "burn_now",
    "check_invoices",
    "collector_commands",
    "collector_directories",
    "collector_directory",
    "collector_key_file",
    "credits_of",
    "forecasts_of",
    "free_port",
    "has_control_extra",
    "home_log_of",
    "load_part",
    "log_commands",
    "log_directory",
    "log_folders",
    "logs_are_kept",
    "make_again",
    "note_access",
    "observe_demand",
    "open_store",
    "plan_collectors",
    "plan_logs",
    "public_key_of",
    "publish_prices",
    "read_maintenance",
    "reconcile",
    "report_month",
    "restore",
    "roles_table",
    "run_collector",
    "run_control",
    "run_log",
    "run_witness",
    "saved_of",
    "seeding_of",
    "simulate_change",
    "sources_for_report",
    "usage_of",
    "weights_digests",
    "written_collectors",
    "written_control",
    "written_logs",
]
if TYPE_CHECKING:
    from selvedge.control.backup import back_up, restore
    from selvedge.control.database import Database
    from selvedge.control.process import open_store, run_control
_LATER: Final = {
    "Database": "database",
    "back_up": "backup",
    "open_store": "process",
    "restore": "backup",
    "run_control": "process",
}


def __getattr__(name: str) -> Any:  # Any: as a module's own attribute
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(load_part(_LATER[name]), name)
