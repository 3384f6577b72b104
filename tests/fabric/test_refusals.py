"""The table of refusals: each row is complete and follows OpenAI's retry contract."""

from __future__ import annotations

import pytest

from selvedge.fabric import REFUSALS, RefusalKind, Refused

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "invalid_request_error",
    411: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    421: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    451: "permission_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}


@pytest.mark.parametrize("row", REFUSALS.values(), ids=lambda row: row.code)
def test_rows(row: RefusalKind) -> None:
    assert REFUSALS[row.code] is row
    assert row.type == TYPES[row.status]
    assert row.fault in {"caller", "policy", "engine", "capacity", "selvedge"}
    assert row.meaning
    theirs = row.status < 500 or row.code == "not_cached"  # whose 504 is RFC 9111's
    assert (row.fault in ("caller", "policy")) == theirs
    # Of what is not our failure, only the wait for what still runs, and a limit that begins again.
    again = {"idempotency_in_progress", "rate_limit_exceeded", "concurrency_exceeded"}
    assert not (row.should_retry and row.status < 500 and row.code not in again)


def test_a_refusal_is_a_row_with_words() -> None:
    refused = Refused("invalid_json", "The body is not JSON.", param="messages")
    assert refused.kind is REFUSALS["invalid_json"]
    assert (refused.retry_after_ms, refused.rule) == (None, None)


def test_a_code_outside_the_table_cannot_exist() -> None:
    with pytest.raises(ValueError, match="'nonsense' is not in the table"):
        Refused("nonsense", "")


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REFUSALS["x"] = REFUSALS["invalid_json"]  # type: ignore[index]
