"""A release checks itself: what is wrong is named by its path, and an invalid one cannot exist."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest

from selvedge.fabric import (
    NAME_PATTERN,
    BadRelease,
    BadSetting,
    DataClass,
    Engine,
    Key,
    Model,
    PoP,
    Release,
    SelvedgeError,
    Served,
    StaleRelease,
    Tenant,
    Wan,
    Zone,
)
from tests.support.fleets import NOW_US, make_pop, make_release

HASH = "0f" * 32
SERVES = (Served("chat", "small"),)


def engine(**changes: object) -> Engine:
    fields = {"id": "e", "url": "http://h:1", "profile": "openai", "serves": SERVES}
    return Engine(**fields | changes)  # type: ignore[arg-type]


def pop(**changes: object) -> PoP:
    return msgspec.structs.replace(make_pop("sin"), **changes)


def model(**changes: object) -> Model:
    return msgspec.structs.replace(Model("m", "chat", "unknown", "F16", 10), **changes)


@pytest.mark.parametrize("name", ["a", "9", "a-b.c", "a" * 64, "0a0"])
def test_names(name: str) -> None:
    assert NAME_PATTERN.fullmatch(name)
    assert Zone(name, ("SG",)).id == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", ".a", "a_b", "a/b", "a" * 65, "a\n", "ä"])
def test_names_that_are_none(name: str) -> None:
    for build in (
        lambda: Zone(name, ("SG",)),
        lambda: DataClass(name, "z", "in-zone"),
        lambda: Tenant(name, (DataClass("d", "z", "in-zone"),)),
        lambda: Key(name, "t", "d", HASH),
        lambda: engine(id=name),
        lambda: pop(id=name),
        lambda: make_release(fleet=name),
    ):
        with pytest.raises(BadRelease, match="is not a name"):
            build()


CHAT = DataClass("d", "asean", "in-zone")
WRONG: list[tuple[str, Callable[[], object]]] = [
    ("models", lambda: model(id="")),
    ("models", lambda: model(id="m" * 129)),
    ("models.m.context_tokens_max", lambda: model(context_tokens_max=0)),
    ("engines.e.serves", lambda: engine(serves=())),
    ("engines.e.url", lambda: engine(url="ftp://h")),
    ("engines.e.url", lambda: engine(url="http://")),
    ("engines.e.url", lambda: engine(url="http://h/\n")),
    ("engines.e", lambda: engine(in_flight_max=0)),
    ("engines.e", lambda: engine(prefill_tokens_per_s=0)),
    ("pops.sin.country", lambda: pop(country="UK")),
    ("pops.sin", lambda: pop(latitude=90.1)),
    ("pops.sin", lambda: pop(longitude=-181)),
    ("pops.sin", lambda: pop(latitude=math.nan)),
    ("pops.sin.engines", lambda: pop(engines=(engine(), engine()))),
    ("zones.z", lambda: Zone("z", ("SG", "sg"))),
    ("tenants.t.classes", lambda: Tenant("t", ())),
    ("tenants.t.classes", lambda: Tenant("t", (CHAT, CHAT))),
    ("keys.k.hash", lambda: Key("k", "t", "d", HASH.upper())),
    ("keys.k.hash", lambda: Key("k", "t", "d", HASH[1:])),
    ("wan", lambda: Wan(path_inflation=0.5)),
    ("wan", lambda: Wan(fixed_ms=-1)),
    ("version", lambda: make_release(version=0)),
    ("pops", lambda: make_release(pops=())),
    ("pops", lambda: make_release(pops=(make_pop("sin"), make_pop("sin")))),
    ("models", lambda: make_release(models=make_release().models * 2)),
    ("zones", lambda: make_release(zones=make_release().zones * 2)),
    ("tenants", lambda: make_release(tenants=make_release().tenants * 2)),
    ("keys", lambda: make_release(keys=make_release().keys * 2)),
    ("pops.sin.engines.sin-chat", lambda: make_release(models=())),
    ("tenants.asean.classes.default.zone", lambda: make_release(zones=())),
    ("keys.asean", lambda: make_release(tenants=())),
]


@pytest.mark.parametrize(("field", "build"), WRONG)
def test_what_is_wrong_is_named(field: str, build: Callable[[], object]) -> None:
    with pytest.raises(BadRelease) as caught:
        build()
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_the_example_survives_json() -> None:
    release = make_release()
    again = msgspec.json.decode(msgspec.json.encode(release), type=Release)
    assert again == release
    assert again.made_us == NOW_US


@pytest.mark.parametrize("where", ["", '"wan":{', '"models":[{'])
def test_unknown_fields_are_refused(where: str) -> None:
    text = msgspec.json.encode(make_release()).decode()
    text = text.replace(where, f'{where}"surprise":1,', 1) if where else text[:-1] + ',"x":1}'
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(text, type=Release)


def test_look_ups() -> None:
    release = make_release()
    assert release.pop("fra").country == "DE"
    with pytest.raises(KeyError):
        release.pop("nowhere")
    first = release.pop("sin").engines[0]
    assert first.name_of("chat") == "small"
    assert first.name_of("embed") is None


def test_errors_are_one_tree_and_name_what_they_are_about() -> None:
    assert issubclass(StaleRelease, BadRelease)
    assert issubclass(BadRelease, SelvedgeError)
    error = BadSetting("body_bytes_max", "must be at least 1")
    assert str(error) == "setting body_bytes_max: must be at least 1"
    assert error.name == "body_bytes_max"


def test_certificates_of_a_pop() -> None:
    release = make_release()
    sin = msgspec.structs.replace(make_pop("sin"), certificates=("AAAA", "BBBB"))
    assert msgspec.structs.replace(release, pops=(sin, make_pop("fra"))).pop("sin") == sin
    for certificates, words in (
        (("AAAA", "BBBB", "CCCC"), "names more than 2; drop the oldest"),
        (("A A",), "is DER in base64, at most 4096 characters each"),
        (("A" * 4096,), "is DER in base64, at most 4096 characters each"),
        (("",), "is DER in base64, at most 4096 characters each"),
    ):
        with pytest.raises(BadRelease, match=rf"pops\.sin\.certificates: {words}"):
            msgspec.structs.replace(sin, certificates=certificates)
    twin = msgspec.structs.replace(make_pop("fra"), certificates=("BBBB",))
    with pytest.raises(BadRelease, match=r"pops\.fra\.certificates: holds the certificate of PoP"):
        msgspec.structs.replace(release, pops=(sin, twin))


def test_a_release_from_before_certificates_is_read() -> None:
    written = msgspec.json.encode(make_release()).replace(b',"certificates":[]', b"")
    assert b"certificates" not in written
    assert msgspec.json.decode(written, type=Release) == make_release()
