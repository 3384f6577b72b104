"""Floor 1: keys, receipts and their journal. Later: quotas, leases, prices, invoices as folds."""

from selvedge.ledger.journal import (
    read_line,
    receipts_of,
    recover,
    write_line,
)
from selvedge.ledger.key_changes import DeltaOutcome, KeyChanges
from selvedge.ledger.keys import Admitted, Keyring, hash_secret, write_key
from selvedge.ledger.receipts import (
    INTEGER_MAX,
    SALT_BYTES,
    canonical,
    interrupted,
    seal,
)
from selvedge.ledger.records import (
    LEAF_DOMAIN,
    Entry,
    Intent,
    Recovery,
    Sealed,
    SegmentHeader,
    Summary,
    leaf,
)

__all__ = [
    "INTEGER_MAX",
    "LEAF_DOMAIN",
    "SALT_BYTES",
    "Admitted",
    "DeltaOutcome",
    "Entry",
    "Intent",
    "KeyChanges",
    "Keyring",
    "Recovery",
    "Sealed",
    "SegmentHeader",
    "Summary",
    "canonical",
    "hash_secret",
    "interrupted",
    "leaf",
    "read_line",
    "receipts_of",
    "recover",
    "seal",
    "write_key",
    "write_line",
]
