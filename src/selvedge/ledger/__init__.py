"""Floor 1: keys, receipts and their journal. Later: quotas, leases, prices, invoices as folds."""

from selvedge.ledger.journal import (
    read_line,
    receipts_of,
    recover,
    write_line,
)
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
from selvedge.ledger.settlement import (
    ROWS,
    Row,
    Settlement,
    Sums,
    attempt_rows,
    row_of,
    settle,
    settlement_table,
    sums_of,
)

__all__ = [
    "INTEGER_MAX",
    "LEAF_DOMAIN",
    "ROWS",
    "SALT_BYTES",
    "Admitted",
    "Entry",
    "Intent",
    "Keyring",
    "Recovery",
    "Row",
    "Sealed",
    "SegmentHeader",
    "Settlement",
    "Summary",
    "Sums",
    "attempt_rows",
    "canonical",
    "hash_secret",
    "interrupted",
    "leaf",
    "read_line",
    "receipts_of",
    "recover",
    "row_of",
    "seal",
    "settle",
    "settlement_table",
    "sums_of",
    "write_key",
    "write_line",
]
