"""The PoP's settings: one frozen value, one table of name, type, default and help.

File < environment (``SELVEDGE_<NAME>``) < flag. An unknown key stops the start. No setting holds a
secret: secrets are files, named here by path. `docs/settings.md` is rendered from `settings_table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, get_args, get_type_hints

import msgspec
from msgspec import Meta
from ruamel.yaml.error import YAMLError

from selvedge.adapters import one_line, read_yaml
from selvedge.fabric import BadSetting

ENV_PREFIX: Final = "SELVEDGE_"

Count = Annotated[int, Meta(ge=1)]


def _help(text: str) -> Meta:
    return Meta(description=text)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a PoP process can be told; see the table for meanings."""

    pop: Annotated[str, _help("Id of this PoP in the release.")]
    listen: Annotated[str, _help("`host:port` to serve clients and peers on.")]
    state_dir: Annotated[str, _help("Directory of receipts, keys and the kept release.")]
    release_file: Annotated[str, _help("Signed release to watch; looked at each second.")]
    operator_public_key: Annotated[str, _help("Ed25519 key, base64, that signs releases.")]
    pepper_file: Annotated[str, _help("File with the 32-byte pepper of key hashes, base64.")]
    peer_addresses: Annotated[
        dict[str, str],
        _help("PoP id -> `host:port`, where a peer is reached otherwise than the release says."),
    ] = {}
    wan_emulated: Annotated[
        bool, _help("Say on `/health` that links to peers are emulated; changes nothing else.")
    ] = False
    body_bytes_max: Annotated[Count, _help("Largest request body, in bytes.")] = 10_000_000
    bodies_bytes_max: Annotated[
        Count, _help("Largest sum of request bodies held at once, in bytes; above it 503.")
    ] = 256_000_000
    answer_bytes_max: Annotated[
        Count, _help("Largest answer held for a client that does not stream, in bytes.")
    ] = 64_000_000
    deadline_ms_default: Annotated[
        Count, _help("Deadline of a request that names none, in milliseconds.")
    ] = 600_000
    deadline_ms_max: Annotated[
        Count, _help("Longest deadline a client may ask for, in milliseconds.")
    ] = 3_600_000
    connect_ms_max: Annotated[
        Count, _help("Time to connect to an engine or peer before the next attempt, in ms.")
    ] = 2_000
    cooling_ms: Annotated[
        Count, _help("How long an engine that just failed is ranked last, in milliseconds.")
    ] = 5_000
    fsync_ms: Annotated[
        Count, _help("Receipts are synced to disk within this time, in milliseconds.")
    ] = 5
    segment_bytes_max: Annotated[Count, _help("Size of a receipt file before the next, bytes.")] = (
        64 * 1024 * 1024
    )
    connections_max: Annotated[Count, _help("Client and peer connections at once.")] = 10_000
    workers: Annotated[
        int, Meta(ge=1, le=64), _help("Processes that serve; limits hold for all together.")
    ] = 1
    drain_ms: Annotated[
        Count, _help("On SIGTERM: time for running requests to finish, in milliseconds.")
    ] = 10_000
    drain_idle_ms: Annotated[
        Count, _help("On SIGTERM: how long an idle connection may still ask, in milliseconds.")
    ] = 1_000

    def __post_init__(self) -> None:
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise BadSetting("listen", f"{self.listen!r} is not host:port, as '127.0.0.1:8101'")
        for peer, address in self.peer_addresses.items():
            if not address.rpartition(":")[2].isdigit():
                raise BadSetting("peer_addresses", f"{peer}: {address!r} is not host:port")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def load_settings(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]
) -> Settings:
    """Settings from file, environment and flags, the later ones winning. Raises `BadSetting`."""
    values: dict[str, object] = {}
    if file is not None:
        values.update(_from_file(file))
    values.update(_from_environment(environment))
    values.update((name, value) for name, value in flags.items() if value is not None)
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        field, _, why = one_line(error).rpartition(": ")
        raise BadSetting(field or "file", why) from error


def _from_file(file: Path) -> dict[str, object]:
    try:
        found = read_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(str(file), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSetting(str(file), f"is not UTF-8 at byte {error.start}") from error
    except YAMLError as error:
        raise BadSetting(str(file), one_line(error)) from error
    if not isinstance(found, dict):
        raise BadSetting(str(file), "is not a table of settings")
    return found


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    known = {field.name: field for field in msgspec.structs.fields(Settings)}
    found: dict[str, object] = {}
    for name, text in environment.items():
        key = name.removeprefix(ENV_PREFIX).lower()
        if name.startswith(ENV_PREFIX) and key in known:
            found[key] = _from_json(name, text) if text.startswith("{") else text
    return found


def _from_json(name: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise BadSetting(name, f"is not JSON: {error}") from error


def settings_table() -> str:
    """The settings as a Markdown table, for the documentation."""
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        meta = [arg for arg in get_args(hints[field.name]) if isinstance(arg, Meta)]
        words = next((one.description for one in meta if one.description), "")
        kind = getattr(get_args(hints[field.name])[0], "__name__", "table")
        required = field.default is msgspec.NODEFAULT and (
            field.default_factory is msgspec.NODEFAULT
        )
        default = "required" if required else _shown(field)
        rows.append(f"| `{field.name}` | {kind} | {default} | {words} |")
    return "\n".join(rows) + "\n"


def _shown(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT:
        return "empty"
    return f"{field.default:,}" if type(field.default) is int else str(field.default).lower()
