"""The control process of a fleet, as its release names it to PoPs."""

from __future__ import annotations

from selvedge.adapters import FleetConfig, pop_public_key
from selvedge.control.home import Home
from selvedge.control.settings import ControlSettings
from selvedge.fabric import Control
from selvedge.pop import host_and_port


def named_control(home: Home, settings: ControlSettings | None) -> Control | None:
    """Where PoPs ask for leases, and with whom they share a key; None without a control process."""
    if settings is None:
        return None
    host, port = host_and_port(settings.pops_listen)
    # An address for all of a machine's own is no address to ask.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return Control(url, pop_public_key(home.control_key()))


def written_control(home: Home, config: FleetConfig) -> Control | None:
    """The control process that a fleet file names: by the key in the home, unless it names one."""
    named = config.control
    if named is None:
        return None
    return Control(named.url, named.public_key or pop_public_key(home.control_key()))
