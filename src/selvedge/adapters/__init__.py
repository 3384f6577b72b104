"""Floor 3: the world. Engines, processes, disks and emulated distance; decides nothing.

`embedded_engine` and `wan_link` are mains of processes of their own (`python -m`) and are not
exported: importing them here would import them twice there.
"""

from selvedge.adapters.answer_store import AnswerStore, Put
from selvedge.adapters.answer_store_marks import Purge
from selvedge.adapters.answer_store_records import KeptAnswer, Question
from selvedge.adapters.bundled_models import (
    BUNDLED,
    ModelUnavailable,
    default_cache_dir,
    model_digest,
    model_path,
)
from selvedge.adapters.cache_link import CacheDown, CacheLink, Found
from selvedge.adapters.cache_process import CacheProcess, CacheSettings, open_store, run_cache
from selvedge.adapters.cache_process_frames import AskJudge, SayJudged
from selvedge.adapters.cedar import SCHEMA as CEDAR_SCHEMA
from selvedge.adapters.cedar import read_policies
from selvedge.adapters.certificates import (
    BadCertificate,
    CertificateFiles,
    Chain,
    client_side_context,
    defer,
)
from selvedge.adapters.collector_folder import CollectorFolder
from selvedge.adapters.demand_parts import hours_of_parts, tallies_of_parts
from selvedge.adapters.embedder import BundledEmbedder, Embedder, EmbedderFailed, UrlEmbedder
from selvedge.adapters.engine_commands import STARTED, WRITTEN_BEFORE, ToStart, command_for
from selvedge.adapters.engine_probe import Ask, EngineProbe, Heard
from selvedge.adapters.entropy import Entropy
from selvedge.adapters.fleet_config import forgets, make_release, read_config, stand_in_release
from selvedge.adapters.fleet_form import EmbeddedEngine, Facts, FleetConfig, ModelConfig
from selvedge.adapters.fleet_residency import lists_of
from selvedge.adapters.http_client import (
    Call,
    ClientSettings,
    HttpClient,
    Origin,
    Outgoing,
    TransportFailed,
    Way,
    authority_of,
)
from selvedge.adapters.identities import (
    keep_secret,
    operator_public_key,
    pair_keys,
    pop_public_key,
    read_secret,
    service_key,
)
from selvedge.adapters.invoice_pdf import draw_invoice
from selvedge.adapters.journal_reading import FileJournal, segment_path
from selvedge.adapters.journal_store import (
    FileAppender,
    MemoryAppender,
    find_receipt,
    find_receipts,
    find_sealed,
    read_segments,
)
from selvedge.adapters.journals import is_free, journal_of, journals_of, keep_whole
from selvedge.adapters.judge_url import JudgeFailed, UrlJudge
from selvedge.adapters.jurisdiction_files import shipped_jurisdictions
from selvedge.adapters.key_delta_store import (
    DELTA_FILE,
    HeldDelta,
    KeyDeltaStore,
    open_delta,
    seal_delta,
)
from selvedge.adapters.leaf_join import LeafJoin
from selvedge.adapters.legal_holds import Hold, held_tenants, read_holds, write_hold
from selvedge.adapters.links import READY, Link, render_links
from selvedge.adapters.log_config import named_logs
from selvedge.adapters.log_files import FolderFiles, LogFiles
from selvedge.adapters.log_keys import LOG_KEY_FILE, keep_log_keys, read_log_keys, rotate_log_key
from selvedge.adapters.log_marks import CLOSED_FILE, RESHARD_FILE, closed_why, mark_closed
from selvedge.adapters.log_reading import LogPlace, log_place
from selvedge.adapters.log_store import (
    LogState,
    LogStore,
    decode_state,
    public_folder,
    published,
    read_path,
    sizes_around,
)
from selvedge.adapters.log_telling import Listener, NotTold, SetBack, Told
from selvedge.adapters.model_catalogue import (
    QUANTISATIONS,
    KnownModel,
    ModelCatalogue,
    read_catalogue,
)
from selvedge.adapters.monthly_folds import fold_parts, parts_of_days
from selvedge.adapters.partitions import (
    PARTITIONS,
    as_rows,
    as_table,
    connect,
    drop_days,
    find_digests,
    find_parts,
    has_duckdb,
    part_name,
    quoted,
    rows_of_lines,
    rows_of_parts,
    usage_of_parts,
    write_parquet,
    write_partitions,
)
from selvedge.adapters.pdf_pages import (
    PageFacts,
    PageHeading,
    PageTable,
    PageText,
    Titles,
    draw_pages,
    has_reportlab,
)
from selvedge.adapters.peer_identities import (
    PEER_FILE,
    accepting_context,
    accepting_shell,
    check_peer_certificates,
    dialling_context,
    keep_peer_identity,
    peer_certificates,
    rotate_peer_identity,
)
from selvedge.adapters.plain_files import PlainFiles
from selvedge.adapters.policy_cases import CaseConfig, listed, read_cases
from selvedge.adapters.price_file import (
    HeldPrices,
    PriceStore,
    hash_prices,
    open_prices,
    parse_prices,
    read_amount,
    read_prices,
    seal_prices,
)
from selvedge.adapters.processes import (
    PARENT_VARIABLE,
    ChildFailed,
    ChildProcess,
    die_with_parent,
    leave_no_core,
)
from selvedge.adapters.provider_secrets import SECRETS_FILE, ProviderSecrets, check_secret
from selvedge.adapters.public_data import DataMissing, find_data, read_lines
from selvedge.adapters.receipt_book import ReceiptBook, Schedule, at_once
from selvedge.adapters.release_archive import RELEASES, ReleaseArchive, bare, lay_down_release
from selvedge.adapters.release_store import (
    RELEASE_BYTES_MAX,
    Held,
    ReleaseStore,
    SignedRelease,
    open_release,
    seal_release,
    sweep_drafts,
    write_atomically,
)
from selvedge.adapters.report_rows import numbers_around, rows_between, rows_of_tenant
from selvedge.adapters.response_store import Owner, ResponseStore
from selvedge.adapters.scope_keys import ScopeKeys
from selvedge.adapters.service_parts import service_of_parts
from selvedge.adapters.shared_cells import CELL_BYTES, NAME_BYTES, Cell, Memory, Names, Table
from selvedge.adapters.shared_claims import (
    CLAIM_KEY_BYTES,
    CLAIM_NOTE_BYTES,
    CLAIMS_LAYOUT,
    LeftClaim,
    SharedClaims,
)
from selvedge.adapters.shared_counts import SharedCounts
from selvedge.adapters.shared_ring import SharedRing
from selvedge.adapters.shared_tickets import SharedTickets
from selvedge.adapters.signed_files import WatchedFile, hash_of, is_signed, signature_of
from selvedge.adapters.sockets import no_delay
from selvedge.adapters.speculation import Speculation, SpeculationKind
from selvedge.adapters.vault import Vault
from selvedge.adapters.webhooks import (
    BadWebhook,
    check_webhook_url,
    secret_words,
    send_webhook,
    webhook_headers,
)
from selvedge.adapters.yaml_text import one_line, read_yaml

__all__ = [
    "BUNDLED",
    "CEDAR_SCHEMA",
    "CELL_BYTES",
    "CLAIMS_LAYOUT",
    "CLAIM_KEY_BYTES",
    "CLAIM_NOTE_BYTES",
    "CLOSED_FILE",
    "DELTA_FILE",
    "LOG_KEY_FILE",
    "NAME_BYTES",
    "PARENT_VARIABLE",
    "PARTITIONS",
    "PEER_FILE",
    "QUANTISATIONS",
    "READY",
    "RELEASES",
    "RELEASE_BYTES_MAX",
    "RESHARD_FILE",
    "SECRETS_FILE",
    "STARTED",
    "WRITTEN_BEFORE",
    "AnswerStore",
    "Ask",
    "AskJudge",
    "BadCertificate",
    "BadWebhook",
    "BundledEmbedder",
    "CacheDown",
    "CacheLink",
    "CacheProcess",
    "CacheSettings",
    "Call",
    "CaseConfig",
    "Cell",
    "CertificateFiles",
    "Chain",
    "ChildFailed",
    "ChildProcess",
    "ClientSettings",
    "CollectorFolder",
    "DataMissing",
    "EmbeddedEngine",
    "Embedder",
    "EmbedderFailed",
    "EngineProbe",
    "Entropy",
    "Facts",
    "FileAppender",
    "FileJournal",
    "FleetConfig",
    "FolderFiles",
    "Found",
    "Heard",
    "Held",
    "HeldDelta",
    "HeldPrices",
    "Hold",
    "HttpClient",
    "JudgeFailed",
    "KeptAnswer",
    "KeyDeltaStore",
    "KnownModel",
    "LeafJoin",
    "LeftClaim",
    "Link",
    "Listener",
    "LogFiles",
    "LogPlace",
    "LogState",
    "LogStore",
    "Memory",
    "MemoryAppender",
    "ModelCatalogue",
    "ModelConfig",
    "ModelUnavailable",
    "Names",
    "NotTold",
    "Origin",
    "Outgoing",
    "Owner",
    "PageFacts",
    "PageHeading",
    "PageTable",
    "PageText",
    "PlainFiles",
    "PriceStore",
    "ProviderSecrets",
    "Purge",
    "Put",
    "Question",
    "ReceiptBook",
    "ReleaseArchive",
    "ReleaseStore",
    "ResponseStore",
    "SayJudged",
    "Schedule",
    "ScopeKeys",
    "SetBack",
    "SharedClaims",
    "SharedCounts",
    "SharedRing",
    "SharedTickets",
    "SignedRelease",
    "Speculation",
    "SpeculationKind",
    "Table",
    "Titles",
    "ToStart",
    "Told",
    "TransportFailed",
    "UrlEmbedder",
    "UrlJudge",
    "Vault",
    "WatchedFile",
    "Way",
    "accepting_context",
    "accepting_shell",
    "as_rows",
    "as_table",
    "at_once",
    "authority_of",
    "bare",
    "check_peer_certificates",
    "check_secret",
    "check_webhook_url",
    "client_side_context",
    "closed_why",
    "command_for",
    "connect",
    "decode_state",
    "default_cache_dir",
    "defer",
    "dialling_context",
    "die_with_parent",
    "draw_invoice",
    "draw_pages",
    "drop_days",
    "find_data",
    "find_digests",
    "find_parts",
    "find_receipt",
    "find_receipts",
    "find_sealed",
    "fold_parts",
    "forgets",
    "has_duckdb",
    "has_reportlab",
    "hash_of",
    "hash_prices",
    "held_tenants",
    "hours_of_parts",
    "is_free",
    "is_signed",
    "journal_of",
    "journals_of",
    "keep_log_keys",
    "keep_peer_identity",
    "keep_secret",
    "keep_whole",
    "lay_down_release",
    "leave_no_core",
    "listed",
    "lists_of",
    "log_place",
    "make_release",
    "mark_closed",
    "model_digest",
    "model_path",
    "named_logs",
    "no_delay",
    "numbers_around",
    "one_line",
    "open_delta",
    "open_prices",
    "open_release",
    "open_store",
    "operator_public_key",
    "pair_keys",
    "parse_prices",
    "part_name",
    "parts_of_days",
    "peer_certificates",
    "pop_public_key",
    "public_folder",
    "published",
    "quoted",
    "read_amount",
    "read_cases",
    "read_catalogue",
    "read_config",
    "read_holds",
    "read_lines",
    "read_log_keys",
    "read_path",
    "read_policies",
    "read_prices",
    "read_secret",
    "read_segments",
    "read_yaml",
    "render_links",
    "rotate_log_key",
    "rotate_peer_identity",
    "rows_between",
    "rows_of_lines",
    "rows_of_parts",
    "rows_of_tenant",
    "run_cache",
    "seal_delta",
    "seal_prices",
    "seal_release",
    "secret_words",
    "segment_path",
    "send_webhook",
    "service_key",
    "service_of_parts",
    "shipped_jurisdictions",
    "signature_of",
    "sizes_around",
    "stand_in_release",
    "sweep_drafts",
    "tallies_of_parts",
    "usage_of_parts",
    "webhook_headers",
    "write_atomically",
    "write_hold",
    "write_parquet",
    "write_partitions",
]
