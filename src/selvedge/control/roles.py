"""Who may do what on the admin side: one table, role by act.

A grant may be of one tenant; it then reaches nothing of another, nor what belongs to none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

import msgspec

Role = Literal["owner", "operator", "billing", "auditor", "developer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

READ: Final = "read"
LIMIT: Final = "limit"
WRITE: Final = "write"
KEYS: Final = "keys"
ALERT: Final = "alert"
PUBLISH: Final = "publish"
GRANT: Final = "grant"
AUDIT: Final = "audit"

ACTS: Final[Mapping[str, tuple[str, frozenset[str]]]] = MappingProxyType(
    {
        READ: ("list and show tenants, projects and keys", frozenset(ROLES)),
        WRITE: ("make, change and remove tenants and projects", frozenset({"owner", "operator"})),
        KEYS: (
            "make, change, rotate and revoke keys",
            frozenset({"owner", "operator", "developer"}),
        ),
        LIMIT: ("set limits", frozenset({"owner", "operator", "billing"})),
        ALERT: (
            "make, try and remove alerts",
            frozenset({"owner", "operator", "billing"}),
        ),
        PUBLISH: ("publish a release", frozenset({"owner", "operator"})),
        AUDIT: ("read who did what", frozenset({"owner", "auditor"})),
        GRANT: ("list, give and take roles", frozenset({"owner"})),
    }
)
"""Act -> what it is, and the roles that may."""

FLEET_WIDE: Final = frozenset({PUBLISH, AUDIT, GRANT})
"""Acts that a grant of one tenant does not give, whatever its role."""


class Actor(msgspec.Struct, frozen=True):
    """Who asks: ``who`` is written down with every act."""

    who: str
    role: Role
    tenant: str | None = None
    request_id: str | None = None

    def may(self, act: str) -> bool:
        """Whether the role allows it; whose it is, is another question."""
        if self.tenant is not None and act in FLEET_WIDE:
            return False
        return self.role in ACTS[act][1]

    def reaches(self, tenant: str) -> bool:
        """Whether this tenant's rows are this actor's to see."""
        return self.tenant is None or self.tenant == tenant


def roles_table() -> str:
    """The table in Markdown, for the documentation."""
    rows = [f"| act | {' | '.join(ROLES)} | meaning |", "|---|" + "---|" * (len(ROLES) + 1)]
    for act, (meaning, roles) in ACTS.items():
        marks = " | ".join("yes" if role in roles else "" for role in ROLES)
        note = "; of the whole fleet only" if act in FLEET_WIDE else ""
        rows.append(f"| `{act}` | {marks} | {meaning}{note} |")
    return "\n".join(rows) + "\n"
