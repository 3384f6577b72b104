"""Floor 1: keys, receipts and their journal. Later: quotas, leases, prices, invoices as folds."""

from selvedge.ledger.journal import (
    Entry,
    Intent,
    Recovery,
    SegmentHeader,
    Summary,
    read_line,
    receipts_of,
    recover,
    write_line,
)
from selvedge.ledger.keys import Admitted, Keyring, hash_secret, write_key
from selvedge.ledger.receipts import (
    INTEGER_MAX,
    LEAF_DOMAIN,
    SALT_BYTES,
    Sealed,
    canonical,
    interrupted,
    leaf,
    seal,
)

__all__ = [
    "INTEGER_MAX",
    "LEAF_DOMAIN",
    "SALT_BYTES",
    "Admitted",
    "Entry",
    "Intent",
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
