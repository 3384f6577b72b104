"""Anthropic's request in the chat form. Raises `NotCarried`, by the names that its client used.

Everything that `parse` could refuse of what is made here is refused here first.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.wire.dialects.inward import Json, check_url, missing, wrong
from selvedge.wire.dialects.inward_messages_shapes import (
    Block,
    MessagesBody,
    MessagesChoice,
    MessagesTool,
    Turn,
)
from selvedge.wire.media import ImageUrls

STOPS_MAX: Final = 16
END_USER_MAX: Final = 512
IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_blocks: Final = msgspec.json.Decoder(str | list[Block] | None)


def read_chat(asked: MessagesBody, image_urls: ImageUrls) -> Json:
    """The chat body of a body of messages. Raises `NotCarried`."""
    if not asked.messages:
        raise wrong("messages", "must have at least one message")
    chat: Json = {"model": asked.model, "messages": _conversation(asked, image_urls)}
    if asked.stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    for name, value in (
        ("max_tokens", asked.max_tokens),
        ("temperature", asked.temperature),
        ("top_p", asked.top_p),
        ("top_k", asked.top_k),
        ("stop", asked.stop_sequences or None),
        ("provider", asked.provider if len(asked.provider) else None),
        ("zone", asked.zone if len(asked.zone) else None),
        ("models", asked.models if len(asked.models) else None),
    ):
        if value is not None:
            chat[name] = value
    if asked.top_k is not None and asked.top_k < 0:
        raise wrong("top_k", "must be at least 0")
    if len(asked.stop_sequences or ()) > STOPS_MAX:
        raise wrong("stop_sequences", f"must have at most {STOPS_MAX} strings")
    user = asked.metadata.user_id if asked.metadata is not None else None
    if user is not None:
        if len(user) > END_USER_MAX:
            raise wrong("metadata.user_id", f"must have at most {END_USER_MAX} characters")
        chat["user"] = user
    if asked.tools:
        chat["tools"] = [_tool(f"tools[{at}]", one) for at, one in enumerate(asked.tools)]
        chat |= _choice(asked.tool_choice)
    wanted = asked.output_config.format if asked.output_config is not None else None
    if wanted is not None:
        if wanted.type != "json_schema" or not bytes(wanted.schema).startswith(b"{"):
            raise wrong("output_config.format", "must be of type 'json_schema', with a schema")
        schema = {"name": "output", "strict": True, "schema": wanted.schema}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat


def _tool(field: str, tool: MessagesTool) -> Json:
    if tool.type not in (None, "custom"):
        words = "is a tool that Anthropic runs itself, which nobody does here; leave it out"
        raise wrong(f"{field}.type", words)
    function: Json = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if not bytes(tool.input_schema).startswith(b"{"):
        raise (
            missing(f"{field}.input_schema")
            if not len(tool.input_schema)
            else wrong(f"{field}.input_schema", "must be an object")
        )
    function["parameters"] = tool.input_schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choice(choice: MessagesChoice | None) -> Json:
    if choice is None:
        return {}
    out: Json = {}
    if choice.type == "tool":
        if not choice.name:
            raise missing("tool_choice.name")
        out["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.type in _CHOICES:
        out["tool_choice"] = _CHOICES[choice.type]
    else:
        raise wrong("tool_choice.type", "must be one of auto, any, tool, none")
    if choice.disable_parallel_tool_use is not None:
        out["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    return out


def _conversation(asked: MessagesBody, image_urls: ImageUrls) -> list[Json]:
    messages: list[Json] = []
    if asked.system:
        messages.append({"role": "system", "content": _plain("system", asked.system)})
    for at, turn in enumerate(asked.messages):
        field = f"messages[{at}]"
        if turn.role == "user":
            messages += _user(f"{field}.content", turn, image_urls)
        elif turn.role == "assistant":
            messages.append(_assistant(f"{field}.content", turn))
        elif turn.role == "system":
            messages.append({"role": "system", "content": _plain(f"{field}.content", turn.content)})
        else:
            raise wrong(f"{field}.role", "must be one of user, assistant, system")
    return messages


def _plain(field: str, content: str | list[Block]) -> str:
    """Text alone, its blocks one under the other."""
    if isinstance(content, str):
        return content
    for at, block in enumerate(content):
        if block.type != "text":
            raise wrong(f"{field}[{at}].type", "must be 'text'")
    return "\n".join(_text(f"{field}[{at}]", block) for at, block in enumerate(content))


def _user(field: str, turn: Turn, image_urls: ImageUrls) -> list[Json]:
    """One turn of a user: what tools found comes first, as messages of its own."""
    if isinstance(turn.content, str):
        return [{"role": "user", "content": turn.content}]
    messages: list[Json] = []
    parts: list[Json] = []
    for at, block in enumerate(turn.content):
        where = f"{field}[{at}]"
        if block.type == "tool_result":
            found, pictures = _found(where, block, image_urls)
            messages.append(found)
            parts += pictures
        else:
            parts.append(_part(where, block, image_urls))
    if parts:
        texts = [one["text"] for one in parts if one["type"] == "text"]
        single = len(parts) == 1 and len(texts) == 1
        messages.append({"role": "user", "content": texts[0] if single else parts})
    elif not messages:
        messages.append({"role": "user", "content": ""})
    return messages


def _found(field: str, block: Block, image_urls: ImageUrls) -> tuple[Json, list[Json]]:
    """What a tool found: its words; and its pictures, for which only a user's message has room."""
    if not block.tool_use_id:
        raise missing(f"{field}.tool_use_id")
    content = _blocks.decode(block.content) if len(block.content) else None
    pictures: list[Json] = []
    if not isinstance(content, str):
        parts = [
            _part(f"{field}.content[{at}]", one, image_urls) for at, one in enumerate(content or ())
        ]
        pictures = [one for one in parts if one["type"] != "text"]
        content = "\n".join(one["text"] for one in parts if one["type"] == "text")
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}, pictures


def _part(field: str, block: Block, image_urls: ImageUrls) -> Json:
    """A block of a user's as a part of a chat message."""
    source = block.source
    if block.type == "text":
        return {"type": "text", "text": _text(field, block)}
    if block.type == "document" and source is not None and source.type == "text":
        if source.data is None:
            raise missing(f"{field}.source.data")
        titled = f"{block.title}\n{source.data}" if block.title else source.data
        return {"type": "text", "text": titled}
    if block.type != "image":
        raise wrong(f"{field}.type", "is not carried: send text, pictures and results of tools")
    if source is None:
        raise missing(f"{field}.source")
    if source.type == "url" and source.url is not None:
        url = check_url(f"{field}.source.url", source.url, image_urls)
    elif source.type == "base64" and source.data is not None:
        if source.media_type not in IMAGE_TYPES:
            raise wrong(f"{field}.source.media_type", f"must be one of {sorted(IMAGE_TYPES)}")
        url = f"data:{source.media_type};base64,{source.data}"
    else:
        raise wrong(f"{field}.source", "must be of type 'base64' with data, or 'url' with a url")
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant(field: str, turn: Turn) -> Json:
    """One turn of the model's; what it thought is not told to another."""
    if isinstance(turn.content, str):
        return {"role": "assistant", "content": turn.content}
    texts: list[str] = []
    calls: list[Json] = []
    for at, block in enumerate(turn.content):
        where = f"{field}[{at}]"
        if block.type == "text":
            texts.append(_text(where, block))
        elif block.type == "tool_use":
            calls.append(_called(where, block))
        elif block.type not in _THOUGHTS:
            raise wrong(f"{where}.type", "is not carried: send text and calls of tools")
    message: Json = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if calls:
        message["tool_calls"] = calls
    return message


def _called(field: str, block: Block) -> Json:
    if not block.id or not block.name:
        raise missing(f"{field}.{'name' if block.id else 'id'}")
    written = bytes(block.input) or b"{}"
    if not written.startswith(b"{"):
        raise wrong(f"{field}.input", "must be an object")
    function = {"name": block.name, "arguments": written.decode()}
    return {"id": block.id, "type": "function", "function": function}


def _text(field: str, block: Block) -> str:
    if block.text is None:
        raise missing(f"{field}.text")
    return block.text
