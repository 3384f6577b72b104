"""``selvedge tenant``, ``project`` and ``key``: who is served, by the admin API."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
import msgspec
from rich.table import Table

from selvedge.cli.admin_client import Answer, admin_command, open_client, path_of
from selvedge.cli.tables import console
from selvedge.fabric import LIMIT_MAX, Limits, SelvedgeError

LIMITS: Final = Limits.__struct_fields__
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
F = TypeVar("F", bound=Callable[..., None])
Options = dict[str, Any]  # Any: click's own


def limit_options(command: F) -> F:
    """One option for each limit; ``none`` takes it away."""
    for name in reversed(LIMITS):
        words = f"Limit: {name.replace('_', ' ')}; 'none' for no limit."
        command = click.option(f"--{name.replace('_', '-')}", help=words)(command)
    return command


def scope_options(command: F) -> F:
    """What a key may be used for."""
    for name, words in (
        ("zone", "Zone in which alone it is processed; may be repeated, 'any' for all."),
        ("route", "Path it may ask, as /v1/embeddings; may be repeated, 'any' for all."),
        ("model", "Model it may ask; may be repeated, 'any' for all."),
    ):
        command = click.option(f"--{name}", f"{name}s", multiple=True, help=words)(command)
    words = "When it ends: a time from now (30d, 12h), a moment (2027-01-31T00:00Z), or 'never'."
    return click.option("--expires", help=words)(command)


@click.group()
def tenant() -> None:
    """Tenants: who is served and billed, and where their data may go."""


@click.group()
def project() -> None:
    """Projects: parts of a tenant, with limits of their own."""


@click.group()
def key() -> None:
    """API keys: minted, narrowed, rotated, revoked."""


_CLASS: Final = "NAME=ZONE:INGRESS[:POLICY[:HANDLING,...]]"


def _class_form(text: str) -> tuple[str, dict[str, Any]]:  # Any: JSON
    pattern = r"([^=]+)=([^:]+):(in-zone|transit-allowed)(?::([^:]*))?(?::([^:]+))?"
    found = re.fullmatch(pattern, text)
    if found is None:
        words = "INGRESS is in-zone or transit-allowed"
        raise SelvedgeError(f"--class {text!r} is not {_CLASS}; {words}")
    made: dict[str, Any] = {"zone": found[2], "ingress": found[3]}
    if found[4]:
        made["policy"] = found[4]
    if found[5]:
        made["handling"] = found[5].split(",")
    return found[1], made


def _class_words(name: str, rule: Mapping[str, Any]) -> str:  # Any: JSON
    parts = [rule["zone"], rule["ingress"], rule.get("policy") or ""]
    parts.append(",".join(rule.get("handling", ())))
    return f"{name}={':'.join(parts).rstrip(':')}"


def _limits(options: Options, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    # Any: JSON
    """The form's limits, where any was given: those named, over those that are there."""
    given = {name: options[name] for name in LIMITS if options.get(name) is not None}
    if not given:
        return {}
    made: dict[str, Any] = dict(before or {})
    for name, text in given.items():
        if text == "none":
            made.pop(name, None)
        elif re.fullmatch(r"-?[0-9]{1,18}", text):
            made[name] = int(text)
        else:
            words = f"{text[:32]!r} is not a whole number from 0 to {LIMIT_MAX}, nor 'none'"
            raise SelvedgeError(f"--{name.replace('_', '-')} {words}")
    return {"limits": made}


def _scope(options: Options) -> dict[str, Any]:  # Any: JSON
    made: dict[str, Any] = {}
    for name in ("models", "routes", "zones"):
        if options[name]:
            made[name] = [] if options[name] == ("any",) else list(options[name])
    if options["expires"] is not None:
        made["expires_us"] = _moment(options["expires"])
    return made


def _moment(text: str) -> int | None:
    if text == "never":
        return None
    span = _seconds(text)
    if span is not None:
        return time.time_ns() // 1000 + span * 1_000_000
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise SelvedgeError(
            f"--expires {text!r} is neither a span (30d, 12h) nor a moment (2027-01-31T00:00Z)"
        ) from error
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1_000_000)


def _seconds(text: str) -> int | None:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    return int(found[1]) * UNITS_S[found[2]] if found else None


@tenant.command("create")
@click.argument("name")
@click.option(
    "--class",
    "classes",
    multiple=True,
    required=True,
    metavar=_CLASS,
    help="A data class, as standard=eea:in-zone; may be repeated.",
)
@limit_options
@admin_command
def create_tenant(name: str, classes: tuple[str, ...], **options: Any) -> None:
    """Make a tenant. PoPs know it by the next release, a moment later."""
    form = {"classes": dict(_class_form(one) for one in classes), **_limits(options)}
    _put_new(options, path_of("tenants", name), form)


@tenant.command("set")
@click.argument("name")
@click.option("--class", "classes", multiple=True, metavar=_CLASS)
@limit_options
@admin_command
def set_tenant(name: str, classes: tuple[str, ...], **options: Any) -> None:
    """Change a tenant's limits, or its data classes (all of them are then named)."""
    form = {"classes": dict(_class_form(one) for one in classes)} if classes else {}
    _change(options, "PUT", path_of("tenants", name), form)


@tenant.command("list")
@admin_command
def list_tenants(**options: Any) -> None:
    """List tenants."""
    _list(options, "/tenants")


@tenant.command("show")
@click.argument("name")
@admin_command
def show_tenant(name: str, **options: Any) -> None:
    """Show a tenant."""
    _ask(options, "GET", path_of("tenants", name))


@tenant.command("revoke")
@click.argument("name")
@admin_command
def revoke_tenant(name: str, **options: Any) -> None:
    """Close a tenant and revoke all its keys."""
    _ask(options, "DELETE", path_of("tenants", name))


@project.command("create")
@click.argument("tenant_name", metavar="TENANT")
@click.argument("name")
@limit_options
@admin_command
def create_project(tenant_name: str, name: str, **options: Any) -> None:
    """Make a project of TENANT."""
    _put_new(options, path_of("tenants", tenant_name, "projects", name), _limits(options))


@project.command("set")
@click.argument("tenant_name", metavar="TENANT")
@click.argument("name")
@limit_options
@admin_command
def set_project(tenant_name: str, name: str, **options: Any) -> None:
    """Change a project's limits."""
    _change(options, "PUT", path_of("tenants", tenant_name, "projects", name), {})


@project.command("list")
@click.option("--tenant", "of", help="Only of this tenant.")
@admin_command
def list_projects(of: str | None, **options: Any) -> None:
    """List projects."""
    _list(options, "/projects", of)


@project.command("show")
@click.argument("tenant_name", metavar="TENANT")
@click.argument("name")
@admin_command
def show_project(tenant_name: str, name: str, **options: Any) -> None:
    """Show a project."""
    _ask(options, "GET", path_of("tenants", tenant_name, "projects", name))


@project.command("revoke")
@click.argument("tenant_name", metavar="TENANT")
@click.argument("name")
@admin_command
def revoke_project(tenant_name: str, name: str, **options: Any) -> None:
    """Close a project and revoke all its keys."""
    _ask(options, "DELETE", path_of("tenants", tenant_name, "projects", name))


@key.command("create")
@click.option("--tenant", "of", required=True, help="Whose it is.")
@click.option("--class", "data_class", required=True, help="The data class of what is asked.")
@click.option("--project", "part", default="default", show_default=True, help="Its project.")
@click.option("--id", "name", help="Its id; without one it is chosen.")
@scope_options
@limit_options
@admin_command
def create_key(of: str, data_class: str, part: str, name: str | None, **options: Any) -> None:
    """Mint a key; it is printed this once and kept nowhere."""
    form = {"tenant": of, "class": data_class, "project": part, "id": name}
    _mint(options, "/keys", {**form, **_scope(options), **_limits(options)})


@key.command("set")
@click.argument("name")
@scope_options
@limit_options
@admin_command
def set_key(name: str, **options: Any) -> None:
    """Change what a key may do, or its end."""
    _change(options, "PATCH", path_of("keys", name), _scope(options))


@key.command("list")
@click.option("--tenant", "of", help="Only of this tenant.")
@admin_command
def list_keys(of: str | None, **options: Any) -> None:
    """List keys."""
    _list(options, "/keys", of)


@key.command("show")
@click.argument("name")
@admin_command
def show_key(name: str, **options: Any) -> None:
    """Show a key; its secret is not kept."""
    _ask(options, "GET", path_of("keys", name))


@key.command("rotate")
@click.argument("name")
@click.option("--overlap", default="1d", show_default=True, help="How long both hold, as 1d.")
@click.option("--id", "heir", help="The new key's id; without one it is chosen.")
@admin_command
def rotate_key(name: str, overlap: str, heir: str | None, **options: Any) -> None:
    """Mint a second key of the same rights; the first ends after the overlap."""
    span = _seconds(overlap)
    if span is None:
        raise SelvedgeError(f"--overlap {overlap!r} is not a span, as 30m, 12h or 1d")
    _mint(options, path_of("keys", name, "rotate"), {"id": heir, "overlap_s": span})


@key.command("revoke")
@click.argument("name")
@admin_command
def revoke_key(name: str, **options: Any) -> None:
    """Revoke a key, for good: PoPs on this machine refuse it within two seconds."""
    _ask(options, "DELETE", path_of("keys", name))


def _put_new(options: Options, path: str, form: Answer) -> None:
    client = _client(options)
    found = _maybe(client, path)
    if found is not None and found["removed_us"] is None:
        raise SelvedgeError(f"{path.strip('/')} is there already; 'set' changes it")
    # Whoever makes it at the same moment is not written over.
    version = 0 if found is None else found["version"]
    _print(options, client.ask("PUT", path, form, match=version))


def _maybe(client: Any, path: str) -> Answer:  # Any: the client
    try:
        return client.ask("GET", path)
    except SelvedgeError as error:
        if str(error).startswith("no "):
            return None
        raise


def _change(options: Options, method: str, path: str, form: Answer) -> None:
    """Change what was read, at the version that was read."""
    client = _client(options)
    found = client.ask("GET", path)
    form = {**form, **_limits(options, found["limits"])}
    if not form:
        raise SelvedgeError("nothing to change; see --help for what can be")
    _print(options, client.ask(method, path, form, match=found["version"]))


def _ask(options: Options, method: str, path: str) -> None:
    _print(options, _client(options).ask(method, path))


def _mint(options: Options, path: str, form: Answer) -> None:
    made = _client(options).ask("POST", path, form)
    if options["as_json"]:
        click.echo(msgspec.json.encode(made))
        return
    click.echo(made["secret"])
    click.echo(f"key {made['key']['id']}: shown this once; keep it now", err=True)


def _list(options: Options, path: str, of: str | None = None) -> None:
    rows = list(_client(options).all(path, tenant=of))
    if options["as_json"]:
        click.echo(msgspec.json.encode(rows))
        return
    table = Table(box=None, pad_edge=False)
    columns = ("id", "tenant", "project", "class", "classes", "limits", "state")
    shown = [name for name in columns if name == "state" or any(name in row for row in rows)]
    for name in shown:
        table.add_column(name)
    for row in rows:
        table.add_row(*(_cell(name, row) for name in shown))
    console().print(table)


def _cell(name: str, row: Answer) -> str:
    if name == "state":
        state, end_us = state_of(row, time.time_ns() // 1000), row.get("expires_us")
        return f"{state} {moment_words(end_us)}" if state in ("ends", "ended") else state
    if name == "classes":
        return ", ".join(_class_words(one, rule) for one, rule in row[name].items())
    if name == "limits":
        return ", ".join(f"{one}={value}" for one, value in row[name].items()) or "none"
    return str(row.get(name, ""))


def state_of(row: Answer, now_us: int) -> str:
    """A row in one word."""
    if row["removed_us"] is not None:
        return "revoked"
    end_us = row.get("expires_us")
    if end_us is None:
        return "holds"
    return "ended" if end_us <= now_us else "ends"


def moment_words(at_us: int) -> str:
    """A UTC moment to the minute, as ``--expires`` takes it."""
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(at_us // 1_000_000))


def _print(options: Options, found: Answer) -> None:
    text = msgspec.json.encode(found)
    click.echo(text if options["as_json"] else msgspec.json.format(text))


def _client(options: Options) -> Any:  # Any: the client
    return open_client(options["home"], options["admin"], options["admin_ca"])
