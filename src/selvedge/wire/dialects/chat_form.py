"""The chat form in full: what a dialect reads of `POST /v1/chat/completions`.

`wire.parse` has judged the body before; here all of it is read, because another API is to say it.
Structs are in a module of their own, because what decodes them may be compiled and they are not.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.fabric import Refused

_NOTHING: Final = msgspec.Raw()


class Url(msgspec.Struct, frozen=True):
    """An image: `data:` or `https:`."""

    url: str
    detail: str | None = None


class File(msgspec.Struct, frozen=True):
    """A file that comes with the request, or names one."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class Sound(msgspec.Struct, frozen=True):
    """Sound in base64."""

    data: str
    format: str


class ChatPart(msgspec.Struct, frozen=True):
    """One part of a message."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Url | None = None
    file: File | None = None
    input_audio: Sound | None = None
    cache_control: msgspec.Raw = _NOTHING
    """Anthropic's mark, which OpenRouter's clients put beside a text."""


class Called(msgspec.Struct, frozen=True):
    """Which function a model calls, and with what: JSON in a string."""

    name: str
    arguments: str = ""


class CallGoogle(msgspec.Struct, frozen=True):
    """Google's addition to a call."""

    thought_signature: str | None = None


class CallExtra(msgspec.Struct, frozen=True):
    """What Google's OpenAI-compatible API puts into calls, and wants back."""

    google: CallGoogle | None = None


class Call(msgspec.Struct, frozen=True):
    """One tool call of an assistant."""

    id: str = ""
    type: str = "function"
    function: Called | None = None
    extra_content: CallExtra | None = None


class ChatMessage(msgspec.Struct, frozen=True):
    """One message."""

    role: str
    content: str | list[ChatPart] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: msgspec.Raw = _NOTHING
    thinking_blocks: list[msgspec.Raw] | None = None
    """Anthropic's thinking with its signature, as an answer of ours gave it."""


class Declared(msgspec.Struct, frozen=True):
    """A function that may be called."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = _NOTHING
    strict: bool | None = None


class ChatTool(msgspec.Struct, frozen=True):
    """A tool."""

    type: str
    function: Declared | None = None
    cache_control: msgspec.Raw = _NOTHING


class Named(msgspec.Struct, frozen=True):
    """A function by its name."""

    name: str


class Choice(msgspec.Struct, frozen=True):
    """`tool_choice` where it is an object."""

    type: str
    function: Named | None = None


class Schema(msgspec.Struct, frozen=True):
    """A JSON schema for the answer."""

    name: str = "answer"
    schema: msgspec.Raw = _NOTHING
    description: str | None = None
    strict: bool | None = None


class Format(msgspec.Struct, frozen=True):
    """`response_format`."""

    type: str
    json_schema: Schema | None = None


class Wishes(msgspec.Struct, frozen=True):
    """OpenRouter's `provider`, as far as a dialect minds it."""

    require_parameters: bool | None = None


class Chat(msgspec.Struct, frozen=True):
    """A chat request."""

    messages: list[ChatMessage]
    tools: list[ChatTool] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    provider: Wishes | None = None

    @property
    def stops(self) -> list[str]:
        """Where to stop, always as a list."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def output_tokens_max(self) -> int | None:
        """How long an answer may be."""
        return self.max_completion_tokens or self.max_tokens


_chats: Final = msgspec.json.Decoder(Chat)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_chat(body: bytes) -> tuple[Chat, dict[str, msgspec.Raw]] | Refused:
    """A chat body in full, and its top-level fields as they came."""
    try:
        return _chats.decode(body), _fields.decode(body)
    except msgspec.ValidationError as error:
        words = f"A field cannot be said in the form of this model's provider: {error}."
        return Refused("unsupported_field", words)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Refused("invalid_json", "The body is not JSON that can be translated.")
