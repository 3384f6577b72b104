"""``selvedge cache explain`` and ``warm``: what the cache would say, and what it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import CacheLink, KeptAnswer
from selvedge.cache import Asked, read_asked
from selvedge.cli.cache_place import Class, Place, ask, class_of, one_place, place_options
from selvedge.cli.home_option import json_option
from selvedge.cli.tables import console
from selvedge.fabric import Refused, Release, Route, SelvedgeError
from selvedge.wire import parse

LINE_BYTES_MAX = 2**20


@click.command()
@click.argument("question", required=False)
@click.option("--body", type=click.File("rb"), help="A whole request's JSON instead; - is stdin.")
@click.option("--model", help="The model that would be asked, beside QUESTION.")
@click.option("--tenant", required=True)
@click.option("--class", "data_class", required=True, help="The data class of the key.")
@click.option("--key", default="", help="Id of the API key that would ask.")
@place_options
@json_option
def explain(
    question: str | None,
    home: Path,
    pop_id: str | None,
    state_dir: Path | None,
    **options: Any,  # Any: values of the options above
) -> None:
    """What the cache would say to a request, and why. Changes nothing, and asks no engine."""
    place = one_place(home, pop_id, state_dir)
    kind = class_of(place, options["tenant"], options["data_class"])
    body = options["body"].read() if options["body"] else _chat(options["model"], question)
    asked = read(body, kind.release)

    async def act(link: CacheLink) -> bytes:
        at_us = time.time_ns() // 1000
        return await link.explain(kind.scope, kind.rule, asked, at_us, key=options["key"])

    told = ask(place, act)
    if options["as_json"]:
        click.echo(told)
        return
    _print(msgspec.json.decode(told, type=dict[str, Any]))


def _chat(model: str | None, question: str | None) -> bytes:
    if model is None or question is None:
        raise SelvedgeError("give QUESTION and --model, or --body FILE")
    return json.dumps({"model": model, "messages": [_user(question)]}).encode()


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _print(told: dict[str, Any]) -> None:  # Any: JSON
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in told.items():
        if name == "gates":
            for one in value:
                words = f"{one['similarity']:.4f} {one['why']}"
                table.add_row(f"gate: {one['entry']}", escape(words))
        elif isinstance(value, dict):
            for inner, number in value.items():
                shown = f"{number:.4f}" if isinstance(number, float) else str(number)
                table.add_row(f"{name}: {inner}", shown)
        else:
            table.add_row(name, escape("-" if value is None else str(value)))
    console().print(table)


def read(body: bytes, release: Release) -> Asked:
    """A request as the cache knows it. Raises `SelvedgeError`."""
    found = parse(Route.CHAT, body)
    if isinstance(found, Refused):
        raise SelvedgeError(found.message)
    model = next((one for one in release.models if one.id == found.model), None)
    if model is None:
        names = ", ".join(one.id for one in release.models)
        raise SelvedgeError(f"model {found.model!r} is not of the release, which has {names}")
    asked = read_asked(found, body, model.digest)
    if asked is None:
        raise SelvedgeError("nothing of this request is ever kept: it is too large, or not chat")
    return asked


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file: what is asked, as `messages` or `prompt`, and the answer to it."""

    answer: str
    model: str
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None  # Any: JSON of messages
    parameters: dict[str, Any] = {}  # Any: JSON
    """The request's other fields, as `max_tokens`: who asks with others has another question."""
    tags: tuple[str, ...] = ()


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--tenant", required=True)
@click.option("--class", "data_class", required=True, help="The data class of the keys that ask.")
@place_options
def warm(file: Path, home: Path, pop_id: str | None, state_dir: Path | None, **named: str) -> None:
    """Keep answers of your own, trusted: FILE is JSONL of {messages | prompt, answer, model}.

    Lines may have `parameters`, the other fields of the requests that they answer, and `tags`.
    """
    place = one_place(home, pop_id, state_dir)
    tenant, data_class = named["tenant"], named["data_class"]
    kind = class_of(place, tenant, data_class)
    made = [(asked, kept) for asked, kept in _read_pairs(file, kind, place)]

    async def act(link: CacheLink) -> None:
        for asked, kept in made:
            await link.warm(kind.scope, kind.rule, asked, kept)

    ask(place, act)
    click.echo(f"{place.pop}: {len(made)} answers kept for {tenant}/{data_class}")


def _read_pairs(file: Path, kind: Class, place: Place) -> Iterator[tuple[Asked, KeptAnswer]]:
    """Every line, checked before the first is kept. Raises `SelvedgeError` that names the line."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield _of_line(line, kind, place)
            except (msgspec.MsgspecError, UnicodeDecodeError, SelvedgeError) as error:
                raise SelvedgeError(f"{file}, line {number}: {error}") from error


def _of_line(line: bytes, kind: Class, place: Place) -> tuple[Asked, KeptAnswer]:
    if len(line) > LINE_BYTES_MAX:
        raise SelvedgeError(f"has {len(line)} bytes; the limit is {LINE_BYTES_MAX}")
    pair = msgspec.json.decode(line, type=Pair)
    if (pair.prompt is None) == (pair.messages is None):
        raise SelvedgeError("has either 'prompt' or 'messages'")
    messages = pair.messages if pair.messages is not None else [_user(pair.prompt or "")]
    body = json.dumps({**pair.parameters, "model": pair.model, "messages": messages}).encode()
    asked = read(body, kind.release)
    if not kind.rule.covers(pair.model):
        raise SelvedgeError(f"the cache of the class leaves model {pair.model!r} out")
    return asked, _kept(pair, kind, place)


def _kept(pair: Pair, kind: Class, place: Place) -> KeptAnswer:
    pop = kind.release.pop(place.pop)
    model = next(one for one in kind.release.models if one.id == pair.model)
    now_us = time.time_ns() // 1000
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": None,
        "message": {"role": "assistant", "content": pair.answer, "refusal": None},
    }
    whole = {
        "id": "chatcmpl-kept",
        "object": "chat.completion",
        "created": now_us // 1_000_000,
        "model": pair.model,
        "choices": [choice],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    return KeptAnswer(
        id="",
        made_us=now_us,
        ttl_us=kind.rule.ttl_s * 1_000_000,
        model=pair.model,
        model_digest=model.digest,
        body=json.dumps(whole).encode(),
        finish_reason="stop",
        served_pop=pop.id,
        country=pop.country,
        entity=pop.entity,
        tags=pair.tags,
        cost_micro=1,
    )
