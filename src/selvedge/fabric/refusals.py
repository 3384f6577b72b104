"""Every way a request can be refused, as one table.

A refusal is an ordinary value: the story yields it, the wire renders it, the receipt keeps its
code. The table decides status, OpenAI error type, whether an unchanged retry can help, and the
fault domain that metrics count. The documentation is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec


class RefusalKind(msgspec.Struct, frozen=True):
    """One row: how a refusal with this code looks to the client and to the operator."""

    code: str
    status: int
    type: str
    fault: str
    """Fault domain for metrics: ``caller``, ``policy``, ``engine``, ``capacity``, ``selvedge``."""
    should_retry: bool
    meaning: str


_Row: TypeAlias = tuple[str, int, str, str, bool, str]


def _rows() -> Mapping[str, RefusalKind]:
    kinds = (
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "server_error",
        "rate_limit_error",
    )
    rows = (*_before_an_engine(*kinds[:4]), *_by_rule_or_room(*kinds[2:]))
    return MappingProxyType({row[0]: RefusalKind(*row) for row in rows})


def _before_an_engine(bad: str, auth: str, perm: str, srv: str) -> tuple[_Row, ...]:
    return (
        ("missing_api_key", 401, auth, "caller", False, "no key was sent"),
        ("invalid_api_key", 401, auth, "caller", False, "the key is unknown or revoked"),
        ("key_expired", 401, auth, "caller", False, "the key is past its end"),
        ("unknown_url", 404, bad, "caller", False, "no such path"),
        ("method_not_allowed", 405, bad, "caller", False, "the path exists, not with this method"),
        ("request_too_large", 413, bad, "caller", False, "the body exceeds `body_bytes_max`"),
        ("length_required", 411, bad, "caller", False, "a POST without a body length"),
        ("unsupported_media_type", 415, bad, "caller", False, "the body is not JSON"),
        ("request_timeout", 408, bad, "caller", False, "the body came too slowly"),
        ("invalid_json", 400, bad, "caller", False, "the body is not JSON, or not UTF-8"),
        ("invalid_type", 400, bad, "caller", False, "a field has the wrong type"),
        ("invalid_value", 400, bad, "caller", False, "a field is out of its range"),
        ("duplicate_key", 400, bad, "caller", False, "an object names a key twice"),
        ("missing_field", 400, bad, "caller", False, "a required field is absent"),
        ("invalid_header", 400, bad, "caller", False, "a header cannot be read"),
        ("context_length_exceeded", 400, bad, "caller", False, "the prompt exceeds the context"),
        ("engine_rejected", 400, bad, "caller", False, "the engine found the request invalid"),
        ("model_not_found", 404, bad, "caller", False, "no such model for this key"),
        ("unsupported_field", 400, bad, "caller", False, "no engine can be told a field of it"),
        ("no_provider_left", 400, bad, "caller", False, "`provider` and `zone` leave no engine"),
        ("unsupported_route", 400, bad, "caller", False, "the model does not serve this route"),
        ("response_not_found", 404, bad, "caller", False, "no such answer is kept for this key"),
        ("previous_response_not_found", 400, bad, "caller", False, "it is not kept for this key"),
        ("response_elsewhere", 421, bad, "caller", False, "the answer is kept at another PoP"),
        ("idempotency_in_progress", 409, bad, "caller", True, "the first request still runs"),
        ("idempotency_mismatch", 422, bad, "caller", False, "the key stands for another request"),
        ("not_cached", 504, srv, "caller", False, "`only-if-cached`, and no kept answer fits"),
        ("idempotency_finished", 409, bad, "caller", False, "answered; the answer is not kept"),
    )


def _by_rule_or_room(perm: str, srv: str, rate: str) -> tuple[_Row, ...]:
    return (
        ("residency_no_allowed_pop", 451, perm, "policy", False, "the rule allows no PoP"),
        ("residency_ingress", 451, perm, "policy", False, "the rule forbids entry at this PoP"),
        ("residency_model", 451, perm, "policy", False, "the model is served outside the rule"),
        ("residency_handling", 451, perm, "policy", False, "no engine keeps to the handling"),
        ("ticket_refused", 403, perm, "policy", False, "a peer's ticket did not hold"),
        ("key_scope", 403, perm, "policy", False, "the key is not for this model, route or zone"),
        ("rate_limit_exceeded", 429, rate, "policy", True, "a minute's limit is used up here"),
        ("concurrency_exceeded", 429, rate, "policy", True, "too many requests at once"),
        ("request_over_limit", 429, rate, "policy", False, "one request exceeds the whole limit"),
        ("insufficient_quota", 429, rate, "policy", False, "the day's or month's money is spent"),
        ("quota_unknown", 503, srv, "selvedge", True, "no lease: `lease_away` is `refuse`"),
        ("model_unpriced", 503, srv, "selvedge", False, "sold or budgeted, and it has no price"),
        ("no_engine_available", 503, srv, "capacity", True, "no allowed engine answered"),
        ("overloaded", 503, srv, "capacity", True, "the PoP is over a limit; see limits.md"),
        ("engine_busy", 503, srv, "capacity", True, "a PoP is busier than the ingress thought"),
        ("engine_failed", 502, srv, "engine", True, "the engine broke before it answered"),
        ("engine_interrupted", 502, srv, "engine", True, "the engine broke during its answer"),
        ("deadline_exceeded", 504, srv, "capacity", False, "the deadline passed"),
        ("cache_unavailable", 503, srv, "selvedge", True, "the cache's process is away"),
        ("receipt_unwritable", 503, srv, "selvedge", True, "the receipt could not be written"),
        ("shutting_down", 503, srv, "selvedge", True, "the PoP stops; `drain_ms` is over"),
        ("not_ready", 503, srv, "selvedge", True, "the PoP has no valid release yet"),
        ("internal_error", 500, srv, "selvedge", True, "a fault of ours"),
    )


REFUSALS: Final[Mapping[str, RefusalKind]] = _rows()


class Refused(msgspec.Struct, frozen=True):
    """A refusal of one request: a row of the table with the words for this case.

    ``message`` names the field, the limit and the remedy; it never quotes a prompt or a secret.
    ``retry_after_ms`` says when a retry may help, for rows whose ``should_retry`` is true.
    """

    code: str
    message: str
    param: str | None = None
    retry_after_ms: int | None = None
    rule: str | None = None

    def __post_init__(self) -> None:
        if self.code not in REFUSALS:
            raise ValueError(f"refusal code {self.code!r} is not in the table")

    @property
    def kind(self) -> RefusalKind:
        """The table row of this refusal."""
        return REFUSALS[self.code]
