"""The control process's settings: one frozen value, as a PoP's are.

File < environment (``SELVEDGE_CONTROL_<NAME>``) < flag; an unknown key stops the start. No setting
holds a secret but the database's URL, which may: it hides itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from selvedge.control.roles import Role
from selvedge.fabric import BadSetting
from selvedge.pop import host_and_port, is_loopback

CONTROL_ENV_PREFIX: Final = "SELVEDGE_CONTROL_"

Count = Annotated[int, Meta(ge=1)]


def _help(text: str) -> Meta:
    return Meta(description=text)


class ControlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a control process can be told."""

    home: Annotated[str, _help("Directory of the fleet's files: its keys, release and store.")]
    database: Annotated[
        str | None,
        _help("Where the store is: `postgresql://…` or `sqlite:///FILE`. None: in `home`."),
    ] = None
    admin_listen: Annotated[
        str, _help("`host:port` of the admin API. Beyond loopback it needs TLS.")
    ] = "127.0.0.1:8190"
    pops_listen: Annotated[str, _help("`host:port` that PoPs ask for leases.")] = "127.0.0.1:8191"
    tls_cert_file: Annotated[str | None, _help("PEM chain of the admin API.")] = None
    tls_key_file: Annotated[str | None, _help("PEM key of `tls_cert_file`.")] = None
    release_after_ms: Annotated[
        int,
        Meta(ge=0),
        _help(
            "So long after an act that needs a release (a tenant, a higher limit) one is made, "
            "in ms; 0: only by hand."
        ),
    ] = 1_000
    poll_ms: Annotated[
        Count, _help("How often the store is looked at for acts of other processes, in ms.")
    ] = 1_000
    database_ms_max: Annotated[
        Count, _help("Longest wait for the database, in ms; then the admin API answers 503.")
    ] = 2_000
    alerts_every_ms: Annotated[
        int,
        Meta(ge=0),
        _help("How often alerts are looked at, and told again where that failed, in ms; 0: never."),
    ] = 60_000
    alert_receipts: Annotated[
        tuple[str, ...],
        _help("Collectors' directories that alerts are judged by. None: those of `home`."),
    ] = ()
    webhooks_inside: Annotated[
        bool,
        _help("Whether webhooks may go to loopback and private networks, and by plain HTTP."),
    ] = False
    probe_key_file: Annotated[
        str | None,
        _help(
            "File with an API key of tenant `selvedge-probe`, under which each PoP is asked for a "
            "word of each of its models. None: no probes."
        ),
    ] = None
    probes_every_ms: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        _help(
            "How often each PoP and model is probed, in ms; 0: never. None: every minute, where "
            "`prices.yaml` in `home` promises a service level."
        ),
    ] = None
    body_bytes_max: Annotated[Count, _help("Largest body of a request, in bytes.")] = 1_000_000
    oidc_issuer: Annotated[
        str | None, _help("URL of the OpenID Connect issuer whose logins are taken. None: none.")
    ] = None
    oidc_audience: Annotated[
        str | None, _help("The `aud` that an ID token must have: this client's id there.")
    ] = None
    oidc_jwks_url: Annotated[
        str | None, _help("Where the issuer's keys are. None: as its discovery document says.")
    ] = None
    oidc_name_claim: Annotated[
        str, _help("The claim that names a person: grants are given to it, acts recorded under it.")
    ] = "sub"
    oidc_role_claim: Annotated[
        str, _help("The claim (a word, or a list of them) that `oidc_roles` reads.")
    ] = "groups"
    oidc_roles: Annotated[
        dict[str, Role],
        _help("Value of that claim -> role, for people without a grant; the first that fits."),
    ] = {}
    oidc_tenant_claim: Annotated[
        str | None, _help("The claim with the one tenant that such a role is of. None: all.")
    ] = None

    def __post_init__(self) -> None:
        for name in ("admin_listen", "pops_listen"):
            host, _, port = getattr(self, name).rpartition(":")
            if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
                words = f"{getattr(self, name)!r} is not host:port, as '127.0.0.1:8190'"
                raise BadSetting(name, words)
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise BadSetting("tls_cert_file", "needs tls_key_file beside it; name both or neither")
        loopback = is_loopback(host_and_port(self.admin_listen)[0])
        if self.tls_cert_file is None and not loopback:
            words = f"{self.admin_listen!r} is not loopback: admin keys would travel in the open"
            raise BadSetting("admin_listen", f"{words}; name tls_cert_file and tls_key_file")
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise BadSetting("oidc_audience", "name this client's id at the issuer")

    @property
    def database_url(self) -> str:
        """Where the store is."""
        return self.database or f"sqlite:///{self.home}/control.sqlite"

    def __repr__(self) -> str:
        return f"ControlSettings(home={self.home!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # Any: msgspec's own signature
        return [("home", self.home)]
