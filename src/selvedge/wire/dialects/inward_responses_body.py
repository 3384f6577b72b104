"""A request of OpenAI's responses in the chat form. Raises `NotCarried`, by its client's names.

Everything that `parse` could refuse of what is made here is refused here first.
"""

from __future__ import annotations

from typing import Final

from selvedge.wire.dialects.inward import Json, check_url, missing, wrong
from selvedge.wire.dialects.inward_responses_shapes import (
    InputPart,
    Item,
    ResponsesBody,
    ResponsesChoice,
    ResponsesTool,
    TextFormat,
)
from selvedge.wire.media import ImageUrls

END_USER_MAX: Final = 512
METADATA_MAX: Final = 16
METADATA_VALUE_MAX: Final = 512
_ROLES: Final = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_WORDS: Final = frozenset({"input_text", "output_text", "text"})
_CHOICES: Final = ("auto", "none", "required")
_INCLUDES: Final = frozenset({"reasoning.encrypted_content"})
"""Of no effect: no engine here seals its thoughts, and what it thinks is in the answer."""


def read_settings(asked: ResponsesBody) -> Json:
    """The chat body but for its messages."""
    chat: Json = {"model": asked.model, "messages": []}
    if asked.background:
        raise wrong("background", "is not carried: an answer is made while its client waits")
    if asked.top_logprobs:
        raise wrong("top_logprobs", "is not carried; leave it out, or ask for a chat")
    for at, name in enumerate(asked.include or ()):
        if name not in _INCLUDES:
            raise wrong(f"include[{at}]", f"is not of {sorted(_INCLUDES)}; leave it out")
    limit = asked.max_output_tokens
    if limit is not None and not 1 <= limit < 2**31:
        raise wrong("max_output_tokens", "must be from 1 to 2147483647")
    if asked.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    for name, value in (
        ("max_tokens", limit),
        ("temperature", asked.temperature),
        ("top_p", asked.top_p),
        ("user", _user(asked)),
        ("prompt_cache_key", asked.prompt_cache_key),
        ("provider", asked.provider if len(asked.provider) else None),
        ("zone", asked.zone if len(asked.zone) else None),
        ("models", asked.models if len(asked.models) else None),
    ):
        if value is not None:
            chat[name] = value
    _check_metadata(asked.metadata or {})
    if asked.tools:
        chat["tools"] = [_tool(f"tools[{at}]", one) for at, one in enumerate(asked.tools)]
        if asked.tool_choice is not None:
            chat["tool_choice"] = _choice(asked.tool_choice)
        if asked.parallel_tool_calls is not None:
            chat["parallel_tool_calls"] = asked.parallel_tool_calls
    wanted = asked.text.format if asked.text is not None else None
    if wanted is not None:
        chat |= _format(wanted)
    return chat


def _user(asked: ResponsesBody) -> str | None:
    for name in ("safety_identifier", "user"):
        value: str | None = getattr(asked, name)
        if value is not None:
            if len(value) > END_USER_MAX:
                raise wrong(name, f"must have at most {END_USER_MAX} characters")
            return value
    return None


def _check_metadata(metadata: dict[str, str]) -> None:
    too_long = any(len(value) > METADATA_VALUE_MAX for value in metadata.values())
    if len(metadata) > METADATA_MAX or too_long:
        rule = f"must have at most {METADATA_MAX} values of {METADATA_VALUE_MAX} characters"
        raise wrong("metadata", rule)


def _tool(field: str, tool: ResponsesTool) -> Json:
    if tool.type != "function":
        words = "must be 'function': nobody here runs tools; leave it out"
        raise wrong(f"{field}.type", words)
    if not tool.name:
        raise missing(f"{field}.name")
    function: Json = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if bytes(tool.parameters) not in (b"", b"null"):
        if not bytes(tool.parameters).startswith(b"{"):
            raise wrong(f"{field}.parameters", "must be an object")
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choice(choice: str | ResponsesChoice) -> str | Json:
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise wrong("tool_choice", f"must be one of {', '.join(_CHOICES)}, or a function")
        return choice
    if choice.type != "function":
        raise wrong("tool_choice.type", "must be 'function'")
    if not choice.name:
        raise missing("tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _format(wanted: TextFormat) -> Json:
    if wanted.type == "text":
        return {}
    if wanted.type == "json_object":
        return {"response_format": {"type": "json_object"}}
    if wanted.type != "json_schema":
        raise wrong("text.format.type", "must be one of text, json_object, json_schema")
    if not wanted.name:
        raise missing("text.format.name")
    if not bytes(wanted.schema).startswith(b"{"):
        raise wrong("text.format.schema", "must be an object")
    schema: Json = {"name": wanted.name, "schema": wanted.schema}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def read_messages(
    field: str, given: str | list[Item] | tuple[Item, ...], image_urls: ImageUrls
) -> list[Json]:
    """The messages of a chat that these items are; what a model thought is not told to another."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[Json] = []
    for at, item in enumerate(given):
        where = f"{field}[{at}]"
        if item.type == "message":
            messages.append(_message(where, item, image_urls))
        elif item.type == "function_call":
            _call(where, item, messages)
        elif item.type == "function_call_output":
            messages += _found(where, item, image_urls)
        elif item.type != "reasoning":
            words = "is not carried: send messages, function calls and their outputs"
            raise wrong(f"{where}.type", words)
    return messages


def _message(field: str, item: Item, image_urls: ImageUrls) -> Json:
    if item.role not in _ROLES:
        if item.role is None:
            raise missing(f"{field}.role")
        raise wrong(f"{field}.role", f"must be one of {', '.join(_ROLES)}")
    role = _ROLES[item.role]
    if item.content is None:
        raise missing(f"{field}.content")
    if isinstance(item.content, str):
        return {"role": role, "content": item.content}
    parts = _parts(f"{field}.content", item.content, image_urls)
    if all(one["type"] == "text" for one in parts):
        return {"role": role, "content": "".join(one["text"] for one in parts)}
    if role != "user":
        raise wrong(f"{field}.content", "must be text alone in a message of this role")
    return {"role": role, "content": parts}


def _parts(field: str, content: list[InputPart], image_urls: ImageUrls) -> list[Json]:
    parts: list[Json] = []
    for at, part in enumerate(content):
        where = f"{field}[{at}]"
        if part.type in _WORDS or part.type == "refusal":
            text = part.refusal if part.type == "refusal" else part.text
            if text is None:
                raise missing(f"{where}.{'refusal' if part.type == 'refusal' else 'text'}")
            parts.append({"type": "text", "text": text})
        elif part.type == "input_image" and part.image_url is not None:
            picture: Json = {"url": check_url(f"{where}.image_url", part.image_url, image_urls)}
            if part.detail in ("low", "high", "auto"):
                picture["detail"] = part.detail
            parts.append({"type": "image_url", "image_url": picture})
        else:
            raise wrong(where, "is not carried: send text, or a picture by its 'image_url'")
    return parts


def _call(field: str, item: Item, messages: list[Json]) -> None:
    """A call of the model's: of its message right before, where there is one."""
    for name in ("call_id", "name"):
        if not getattr(item, name):
            raise missing(f"{field}.{name}")
    function = {"name": item.name, "arguments": item.arguments or "{}"}
    call = {"id": item.call_id, "type": "function", "function": function}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _found(field: str, item: Item, image_urls: ImageUrls) -> list[Json]:
    """What a function found: its words; and its pictures, in a user's message after it."""
    if not item.call_id:
        raise missing(f"{field}.call_id")
    if item.output is None:
        raise missing(f"{field}.output")
    if isinstance(item.output, str):
        return [{"role": "tool", "tool_call_id": item.call_id, "content": item.output}]
    parts = _parts(f"{field}.output", item.output, image_urls)
    text = "".join(one["text"] for one in parts if one["type"] == "text")
    messages: list[Json] = [{"role": "tool", "tool_call_id": item.call_id, "content": text}]
    pictures = [one for one in parts if one["type"] != "text"]
    if pictures:
        messages.append({"role": "user", "content": pictures})
    return messages
