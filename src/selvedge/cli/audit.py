"""``selvedge audit``: prove what a receipt says, and check proofs with a file of keys."""

from __future__ import annotations

import click

from selvedge.cli.audit_keys import keys
from selvedge.cli.audit_prove import prove
from selvedge.cli.audit_residency import check, residency
from selvedge.cli.audit_verify import verify


@click.group()
def audit() -> None:
    """Prove that receipts were logged, and check such proofs."""


for command in (prove, verify, keys, residency, check):
    audit.add_command(command)
