"""How the admin API refuses: one table, in the shape of every other error of Selvedge."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.fabric import SelvedgeError


class AdminErrorKind(msgspec.Struct, frozen=True):
    """One row. ``retry`` says whether the same request can succeed later."""

    code: str
    status: int
    type: str
    retry: bool
    meaning: str


def _rows() -> Mapping[str, AdminErrorKind]:
    bad, auth, perm, srv = (
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "server_error",
    )
    rows = (
        ("missing_admin_key", 401, auth, False, "no admin key and no ID token was sent"),
        ("invalid_admin_key", 401, auth, False, "it is unknown, past its end, or gives no role"),
        ("forbidden", 403, perm, False, "the role does not allow this act"),
        ("not_found", 404, bad, False, "no such thing, or another tenant's"),
        ("method_not_allowed", 405, bad, False, "the path exists, not with this method"),
        ("conflict", 409, bad, False, "it is there already, revoked or closed"),
        ("release_refused", 409, bad, False, "a release of the store would not hold"),
        ("version_changed", 412, bad, False, "somebody changed it since; read it again"),
        ("body_timeout", 408, bad, True, "the body did not come in time"),
        ("request_too_large", 413, bad, False, "the body exceeds `body_bytes_max`"),
        ("invalid_json", 400, bad, False, "the body is not JSON, or not UTF-8"),
        ("invalid_value", 400, bad, False, "a field is unknown, of the wrong type or range"),
        ("store_unavailable", 503, srv, True, "the database, the disk or the issuer is away"),
        ("internal_error", 500, srv, True, "a fault of ours"),
    )
    return MappingProxyType({row[0]: AdminErrorKind(*row) for row in rows})


ADMIN_ERRORS: Final[Mapping[str, AdminErrorKind]] = _rows()


class AdminRefused(SelvedgeError):
    """A request that is answered with a row of the table."""

    def __init__(
        self, code: str, message: str, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.kind = ADMIN_ERRORS[code]
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> bytes:
        """As it is sent."""
        shown = {
            "message": str(self),
            "type": self.kind.type,
            "param": self.param,
            "code": self.kind.code,
        }
        return msgspec.json.encode({"error": shown})


def admin_errors_table() -> str:
    """The table in Markdown, for the documentation."""
    rows = ["| code | status | type | retry | meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| `{kind.code}` | {kind.status} | {kind.type} | {'yes' if kind.retry else 'no'} | "
        f"{kind.meaning} |"
        for kind in ADMIN_ERRORS.values()
    ]
    return "\n".join(rows) + "\n"
