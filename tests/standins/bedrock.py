"""Amazon Bedrock's Converse: it takes what AWS's service model takes and botocore has signed."""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any
from unittest import mock

import botocore.auth
import botocore.loaders
import botocore.model
import botocore.validate
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.standins.server import Asked, Hold, Told

Json = dict[str, Any]  # Any: JSON

KEY_ID, SECRET, TOKEN = "AKIDSTANDIN", "c2VjcmV0/of+the", "FwoGZXIvYXdzEBYaD"
KEY = f"{KEY_ID}:{SECRET}:{TOKEN}"
BEARER = "bedrock-api-key-stand-in"
REGION = "eu-central-1"
TYPES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


@dataclass(frozen=True)
class Says:
    """One answer: blocks of content as Converse has them, and how it counts them."""

    blocks: tuple[Json, ...] = ({"text": "Hello there."},)
    stop: str = "end_turn"
    usage: Json = field(
        default_factory=lambda: {"inputTokens": 25, "outputTokens": 15, "totalTokens": 40}
    )

    @property
    def answer(self) -> Json:
        """The answer whole."""
        return {
            "output": {"message": {"role": "assistant", "content": list(self.blocks)}},
            "stopReason": self.stop,
            "usage": self.usage,
            "metrics": {"latencyMs": 551},
        }

    def events(self, piece: int = 6) -> list[bytes]:
        """The answer as messages of an event stream, texts in pieces."""
        found = [event("messageStart", role="assistant", p="abcd")]
        for index, block in enumerate(self.blocks):
            found += block_events(index, block, piece)
        found.append(event("messageStop", stopReason=self.stop))
        return [*found, event("metadata", usage=self.usage, metrics={"latencyMs": 551})]


def block_events(index: int, block: Json, piece: int) -> list[bytes]:
    """A block: its beginning where it has one, its pieces, its end."""
    found, deltas = [], []
    if "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
        found.append(event("contentBlockStart", start=start, contentBlockIndex=index))
        text = json.dumps(use["input"]) if use["input"] else ""
        deltas = [{"toolUse": {"input": one}} for one in cut(text, piece)]
    elif "reasoningContent" in block:
        told = block["reasoningContent"]["reasoningText"]
        deltas = [{"reasoningContent": {"text": one}} for one in cut(told["text"], piece)]
        deltas.append({"reasoningContent": {"signature": told["signature"]}})
    else:
        deltas = [{"text": one} for one in cut(block["text"], piece)]
    found += [event("contentBlockDelta", delta=one, contentBlockIndex=index) for one in deltas]
    return [*found, event("contentBlockStop", contentBlockIndex=index)]


def cut(text: str, piece: int) -> list[str]:
    """A text in pieces."""
    return [text[at : at + piece] for at in range(0, len(text), piece)]


def event(kind: str, **fields: Any) -> bytes:  # Any: JSON
    """One event."""
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return message(headers, json.dumps(fields).encode())


def exception(kind: str, words: str = "in AWS's words") -> bytes:
    """An exception in the middle of a stream."""
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return message(headers, json.dumps({"message": words}).encode())


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of an event stream, checksums and all."""
    packed = b"".join(
        struct.pack(">B", len(name))
        + name.encode()
        + struct.pack(">BH", 7, len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    total = 12 + len(packed) + len(payload) + 4
    prelude = struct.pack(">II", total, len(packed))
    whole = prelude + struct.pack(">I", binascii.crc32(prelude)) + packed + payload
    return whole + struct.pack(">I", binascii.crc32(whole))


def fails(status: int, **headers: str) -> Told:
    """An answer that is an error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = {"x-amzn-ErrorType": f"{TYPES[status]}:http://internal.amazon.com/coral/"}
    return Told((json.dumps({"message": "in AWS's words"}).encode(),), status, kind | named)


def tell(asked: Asked, says: Says, *, hold_at: int | None = None) -> Told:
    """The answer to a request that the real one would take."""
    if asked.headers.get("authorization") != f"Bearer {BEARER}":
        assert asked.headers.get("x-amz-security-token") == TOKEN
        if asked.headers.get("authorization") != signature(asked):
            return fails(403)
    check_body(asked.json)
    if asked.target == "/model/eu.theirs-v1%3A0/converse":
        return Told((json.dumps(says.answer).encode(),))
    if asked.target != "/model/eu.theirs-v1%3A0/converse-stream":
        return fails(404)
    parts: tuple[bytes | Hold, ...] = tuple(says.events())
    if hold_at is not None:
        parts = (*parts[:hold_at], Hold())
    return Told(parts, kind="application/vnd.amazon.eventstream")


def signature(asked: Asked, region: str = REGION) -> str:
    """What botocore signs the same request with, at the time the request names."""
    told = asked.headers["x-amz-date"]
    at = datetime.strptime(told, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    signed = re.search(r"SignedHeaders=([^,]+)", asked.headers["authorization"])
    assert signed is not None
    headers = {
        name: asked.headers[name]
        for name in signed.group(1).split(";")
        if name not in ("x-amz-date", "x-amz-security-token")
    }
    token = asked.headers.get("x-amz-security-token")
    request = AWSRequest(
        method=asked.method,
        url=f"http://{asked.headers['host']}{asked.target}",
        data=asked.body,
        headers=headers,
    )
    signer = botocore.auth.SigV4Auth(Credentials(KEY_ID, SECRET, token), "bedrock", region)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at):
        signer.add_auth(request)
    found: str = request.headers["Authorization"]
    return found


@cache
def shape(name: str) -> Any:  # Any: botocore has no types
    """A shape of the service model."""
    model = botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2")
    return botocore.model.ServiceModel(model).shape_for(name)


def check_body(body: Json) -> None:
    """Raises what the service model finds wrong, unknown fields and enumerations included."""
    told = binary(body) | {"modelId": "m"}
    known = shape("ConverseRequest")
    report = botocore.validate.ParamValidator().validate(told, known)
    assert not report.has_errors(), report.generate_report()
    check_shape(told, known)
    roles = [one["role"] for one in body["messages"]]
    assert roles == [("user", "assistant")[at % 2] for at in range(len(roles))], roles


def check_shape(value: Any, known: Any) -> None:  # Any: JSON, and botocore has no types
    """Raises what botocore's validator lets pass: unknown fields, enumerations, patterns."""
    if known.type_name == "structure" and not known.is_document_type:
        unknown = set(value) - set(known.members)
        assert not unknown, (known.name, unknown)
        for name, one in value.items():
            check_shape(one, known.members[name])
    elif known.type_name == "list":
        for one in value:
            check_shape(one, known.member)
    elif known.type_name == "string":
        assert not known.enum or value in known.enum, (known.name, value)
        pattern = known.metadata.get("pattern")
        assert not pattern or re.fullmatch(pattern, value), (known.name, value)


def binary(value: Any) -> Any:  # Any: JSON
    """Base64 as the bytes that SDKs take."""
    if isinstance(value, dict):
        return {
            name: base64.b64decode(one, validate=True)
            if name in ("bytes", "redactedContent") and isinstance(one, str)
            else binary(one)
            for name, one in value.items()
        }
    return [binary(one) for one in value] if isinstance(value, list) else value
