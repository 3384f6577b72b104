"""Signatures: AWS's published test suite, and botocore's word on anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.wire.dialects.sigv4 import Credentials, Place, read_credentials, sign
from tests.standins.bedrock import KEY_ID, SECRET, signature
from tests.standins.server import Asked

# The suite's own key, time and place (aws-sig-v4-test-suite).
EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
AT_US = 1_440_938_160_000_000
HERE = Place("us-east-1", "service")
HOST = ("host", "example.amazonaws.com")
FORM = ("content-type", "application/x-www-form-urlencoded")


@pytest.mark.parametrize(
    ("request_", "headers", "signed", "expected"),
    [
        (
            ("GET", "/", b""),
            [HOST],
            "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            ("POST", "/", b""),
            [HOST],
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            ("POST", "/", b"Param1=value1"),
            [HOST, FORM],
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "post-x-www-form-urlencoded"],
)
def test_the_published_suite(
    request_: tuple[str, str, bytes],
    headers: list[tuple[str, str]],
    signed: str,
    expected: str,
) -> None:
    added = dict(sign(request_, headers, EXAMPLE, HERE, AT_US))
    assert added["x-amz-date"] == "20150830T123600Z"
    assert added["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={signed}, Signature={expected}"
    )


@given(
    st.sampled_from(
        ["/model/a/converse", "/model/eu.a-v1%3A0/converse-stream", "/model/arn%3Aaws%3Ab%2Fc/x"]
    ),
    st.binary(max_size=200),
    st.sampled_from(["", "FwoGZXIvYXdzEBYaD//+="]),
    st.integers(0, 4_000_000_000),
)
@settings(deadline=None, max_examples=60)
def test_what_botocore_signs(target: str, body: bytes, token: str, at_s: int) -> None:
    headers = [("host", "bedrock-runtime.eu-west-1.amazonaws.com"), ("content-type", "a/b")]
    credentials = Credentials(KEY_ID, SECRET, token)
    place = Place("eu-west-1", "bedrock")
    added = dict(sign(("POST", target, body), headers, credentials, place, at_s * 1_000_000))
    asked = Asked("POST", target, dict(headers) | added, body)
    assert added["authorization"] == signature(asked, "eu-west-1")


def test_secrets() -> None:
    assert read_credentials("a:b") == Credentials("a", "b")
    assert read_credentials("a:b:c") == Credentials("a", "b", "c")
    for wrong in ("", "a", "a:", ":b", "a:b:", "a:b:c:d"):
        assert read_credentials(wrong) is None
