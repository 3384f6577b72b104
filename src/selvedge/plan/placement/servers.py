"""What may be installed: a server with its GPUs, what it needs of a site, what it serves.

Speed comes from the simulator's engines, so that plan and judgement agree on it: an engine's time
for a request is its prompt's, alone, and its share of the steps that write the answer.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from selvedge.plan.history import BadPlan, PopSite
from selvedge.sim import HARDWARE, BatchingModel

_US: Final = 1e6
_YEAR_H: Final = 8760


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of the table. Heat is what it draws."""

    gpu: str
    """As `selvedge plan fit` names it."""
    gpus: int
    rack_units: int
    power_kw: float
    price_usd: float
    preset: str
    """Of the simulator's hardware; see `selvedge.sim.HARDWARE`."""
    engines: int
    source: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The mean request, and how full a server may be."""

    prompt_tokens: int = 1000
    output_tokens: int = 250
    utilisation: float = 0.6
    """Share of a server's rate that is planned with: queues grow without limit towards 1."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reviewed: str
    servers: dict[str, Server]


def read_servers(path: Path | None = None) -> dict[str, Server]:
    """The package's table, or another of the same form. Raises `BadPlan`."""
    try:
        if path is None:
            text = resources.files("selvedge.plan.placement").joinpath("servers.toml").read_text()
        else:
            text = path.read_text("utf-8")
        found = msgspec.convert(tomllib.loads(text), _Table).servers
    except (OSError, ValueError) as error:  # TOML's and msgspec's errors are of ValueError.
        raise BadPlan(f"{path or 'servers.toml'} is no table of servers: {error}.") from error
    for name, server in found.items():
        if server.preset not in HARDWARE:
            words = f"preset {server.preset!r} is not one of {', '.join(HARDWARE)}"
            raise BadPlan(f"{path or 'servers.toml'}, servers.{name}: {words}.")
        if server.gpus < 1 or server.engines < 1 or server.power_kw <= 0 or server.price_usd < 0:
            raise BadPlan(f"{path or 'servers.toml'}, servers.{name}: a number is out of range.")
    return found


def find_server(name: str, servers: dict[str, Server]) -> Server:
    """A server by its name. Raises `BadPlan`."""
    if name not in servers:
        raise BadPlan(f"--server: {name!r} is not in the table; known are {', '.join(servers)}.")
    return servers[name]


def service_ms(server: Server, asked: Asked) -> float:
    """The time from a request's arrival at an idle engine to its first token."""
    return _prompt_us(_engine(server), asked) / 1000


def requests_per_s(server: Server, asked: Asked) -> float:
    """What a server is planned to serve.

    An engine that holds s answers of c tokens writes s tokens in a step of
    `decode + s decode_answer + s c decode_context`; as many as its slots and its memory hold.
    """
    engine = _engine(server)
    held = _held(engine, asked)
    request_us = _prompt_us(engine, asked) + asked.output_tokens * _step_us(engine, asked) / held
    return asked.utilisation * server.engines * _US / request_us


def residence_s(server: Server, asked: Asked) -> float:
    """How long a request stays at an engine that is full: its prompt, and a step for each token."""
    engine = _engine(server)
    return (_prompt_us(engine, asked) + asked.output_tokens * _step_us(engine, asked)) / _US


def _held(engine: BatchingModel, asked: Asked) -> float:
    longest = asked.prompt_tokens + asked.output_tokens
    return max(1.0, min(float(engine.slots), engine.kv_tokens / longest))


def _step_us(engine: BatchingModel, asked: Asked) -> float:
    held = _held(engine, asked)
    context = asked.prompt_tokens + asked.output_tokens / 2
    return engine.timing.decode_us(int(held), int(held * context))


def usd_per_year(server: Server, *, years: float, usd_per_kwh: float) -> float:
    """Price over its life, and power at the most that it draws."""
    return server.price_usd / years + server.power_kw * _YEAR_H * usd_per_kwh


def room_of(site: PopSite, server: Server, *, assumes: bool) -> tuple[int, str]:
    """How many such servers a site has room for, and what it is short of first.

    What is not known of a site (no limit given) is no room, unless `assumes`.
    """
    drawn = site.power_kw or 0.0
    spare = {
        "power": None if site.power_limit_kw is None else site.power_limit_kw - drawn,
        "cooling": None if site.cooling_kw is None else site.cooling_kw - drawn,
        "rack units": None if site.rack_units_free is None else float(site.rack_units_free),
    }
    least, short = 10_000, ""
    for name, free in spare.items():
        if free is None:
            if not assumes:
                return 0, f"{name} unknown"
            continue
        need = server.rack_units if name == "rack units" else server.power_kw
        count = max(0, int(free / need + 1e-9))
        if count < least:
            least, short = count, name
    return least, short


def _engine(server: Server) -> BatchingModel:
    return HARDWARE[server.preset].engine


def _prompt_us(engine: BatchingModel, asked: Asked) -> float:
    tokens = asked.prompt_tokens
    return engine.timing.prefill_us(tokens, tokens * tokens // 2)
