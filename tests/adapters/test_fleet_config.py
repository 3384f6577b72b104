"""The operator's file: the example holds; what does not is one line with field and remedy."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.adapters import Facts, FleetConfig, make_release, read_config, read_yaml
from selvedge.adapters.fleet_config import CONFIG_BYTES_MAX, check_config
from selvedge.fabric import GROUPS, BadRelease, CacheRule, Release, Served

EXAMPLE = Path(__file__).parents[2] / "examples/three-pops/fleet.yaml"
NOW_US = 1_800_000_000_000_000  # groups have no members in 1970
DIGEST = "sha256:" + "11" * 32
PUBLIC = base64.b64encode(bytes(range(32))).decode()
TEXT = EXAMPLE.read_text("utf-8")
DATA: Any = read_yaml(TEXT)  # Any: what a YAML file holds


def release_of(config: FleetConfig, **more: Any) -> Release:  # Any: fields of Facts
    facts = Facts(
        version=3,
        made_us=NOW_US,
        key_hashes=dict.fromkeys(config.keys, "ab" * 32),
        public_keys=dict.fromkeys(config.pops, PUBLIC),
        digests={"smollm2-135m-instruct": DIGEST},
        engine_ports={f"{p}/{e}": 9000 for p, pop in config.pops.items() for e in pop.engines},
        listen={"cgk": "127.0.0.1:7"},
        **more,
    )
    return make_release(config, facts)


def test_the_example_gives_its_release() -> None:
    release = release_of(read_config(EXAMPLE))
    assert (release.fleet, release.version, release.made_us) == ("three-pops", 3, NOW_US)
    assert [(one.id, one.kind, one.digest) for one in release.models] == [
        ("smollm2-135m-instruct", "chat", DIGEST),
        ("all-minilm-l6-v2", "embedding", "unknown"),
    ]
    assert [(one.id, one.country, one.peer) for one in release.pops] == [
        ("cgk", "ID", "127.0.0.1:7"),
        ("sin", "SG", "127.0.0.1:8102"),
        ("fra", "DE", "127.0.0.1:8103"),
    ]
    assert release.pop("cgk").engines == ()
    assert release.pop("sin").url == "http://127.0.0.1:8102"
    assert release.pop("sin").public_key == PUBLIC
    chat = release.pop("sin").engines[0]
    assert (chat.id, chat.url, chat.profile) == ("sin-chat", "http://127.0.0.1:9000", "llama.cpp")
    assert chat.serves == (Served("smollm2-135m-instruct", "smollm2-135m-instruct"),)
    zones = {zone.id: zone.countries for zone in release.zones}
    assert zones["eea"] == tuple(sorted(GROUPS["EEA"]))
    assert zones["anywhere"] == ("DE", "ID", "SG")
    rules = {(t.id, one.id): (one.zone, one.ingress) for t in release.tenants for one in t.classes}
    assert rules == {
        ("asean", "standard"): ("asean", "in-zone"),
        ("eea", "transit"): ("eea", "transit-allowed"),
        ("eea", "strict"): ("eea", "in-zone"),
        ("free", "standard"): ("anywhere", "transit-allowed"),
    }
    assert {key.id: (key.tenant, key.data_class) for key in release.keys} == {
        "asean": ("asean", "standard"),
        "eea": ("eea", "transit"),
        "eea-strict": ("eea", "strict"),
        "free": ("free", "standard"),
    }
    assert (release.wan.path_inflation, release.wan.fixed_ms) == (1.6, 1.0)


def test_norway_is_a_country(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(TEXT.replace("country: DE", "country: NO"))
    assert release_of(read_config(path)).pop("fra").country == "NO"


def test_an_engine_by_url(tmp_path: Path) -> None:
    url = "url: 'https://gpu.example.net:8443/v1', profile: vllm, api_key_env: K"
    url += ", serves: {smollm2-135m-instruct: org/Small}, prefill_tokens_per_s: 8000"
    path = tmp_path / "fleet.yaml"
    path.write_text(
        TEXT.replace(
            "    engines:\n      sin-chat:", f"    engines:\n      a: {{{url}}}\n      sin-chat:"
        )
    )
    engine = release_of(read_config(path)).pop("sin").engines[0]
    assert (engine.id, engine.url) == ("a", "https://gpu.example.net:8443/v1")
    assert engine.serves == (Served("smollm2-135m-instruct", "org/Small"),)
    assert (engine.prefill_tokens_per_s, engine.api_key_env) == (8000, "K")


# What is replaced in the example, by what, and what the line must say.
BROKEN: list[tuple[str, str, tuple[str, ...]]] = [
    ("fleet: three-pops", "fleet: three-pops\nflet: x", ("unknown field `flet`",)),
    ("kind: chat", "kind: chat\n    modle: x", ("models", "unknown field `modle`")),
    ("slots: 4", "slot: 4", ("embedded", "unknown field `slot`")),
    ("  fra:\n", "  sin:\n", ("line 45: ", 'duplicate key "sin"')),
    ("fleet: three-pops", "fleet: a\nfleet: b", ("line 5: ", 'duplicate key "fleet"')),
    ("country: ID", "country: XX", ("pops.cgk.country", "'XX'", "ISO 3166-1", "as 'SG'")),
    ("country: ID", "country: id", ("pops.cgk.country", "'id'", "as 'SG'")),
    ("kind: chat", "kind: chatty", ("models.smollm2-135m-instruct.kind", "chatty")),
    ("groups: [EEA]", "groups: [EAA]", ("zones.eea.groups", "'EAA' is not a group", "EEA")),
    ("[ID, SG, DE]", "[ID, SG, DD]", ("zones.anywhere", "'DD'")),
    ("zone: asean, ", "zone: asian, ", ("tenants.asean.classes.standard.zone", "'asian'")),
    ("ingress: in-zone", "ingress: inzone", ("tenants.asean.classes.standard.ingress", "inzone")),
    ("tenant: free,", "tenant: fre,", ("keys.free", "'fre' has no data class")),
    ("class: strict", "class: stict", ("keys.eea-strict", "no data class 'stict'")),
    ("class: strict", "clas: strict", ("keys", "field `clas`")),
    (
        "slots: 4",
        "slots: many",
        ("pops.sin.engines.sin-chat.embedded.slots", "Expected `int`, got `str`"),
    ),
    ("slots: 4", "slots: 0", ("pops.sin.engines.sin-chat.embedded.slots", ">= 1")),
    ("slots: 4", "slots: 4, port: 70000", ("pops.sin.engines.sin-chat.embedded.port", "<= 65535")),
    ("context_tokens_max: 2048", "context_tokens_max: 0", ("instruct.context_tokens_max", ">= 1")),
    ("context_tokens_max: 2048", "context_tokens_max: 2048.5", ("context_tokens_max", "`int`")),
    ("latitude: -6.2", "latitude: 'south'", ("pops.cgk.latitude", "Expected `float`, got `str`")),
    ("latitude: -6.2", "latitude: -96.2", ("pops.cgk", "latitude is -90..90")),
    ("latitude: -6.2", "latitude: .nan", ("pops.cgk", "latitude is -90..90")),
    ("listen: 127.0.0.1:8101", "listen: 127.0.0.1", ("pops.cgk.listen", "host:port, as")),
    ("listen: 127.0.0.1:8101", "listen: ':80'", ("pops.cgk.listen", "host:port, as")),
    ("listen: 127.0.0.1:8101", "listen: a:99999", ("pops.cgk.listen", "host:port, as")),
    ("listen: 127.0.0.1:8101", "listen: a:8\n    peer: b", ("pops.cgk.peer", "host:port, as")),
    ("listen: 127.0.0.1:8101", "listen: a:8\n    url: a/v1", ("pops.cgk.url", "http(s) URL, as")),
    ("path_inflation: 1.6", "path_inflation: 0.5", ("wan", "path_inflation", "at least 1")),
    ("fleet: three-pops", "fleet: Three Pops", ("fleet", "'Three Pops' is not a name: use a-z")),
    ("fleet: three-pops", "fleet: 3", ("fleet", "Expected `str`, got `int`")),
    ("fleet: three-pops", "fleet: 2001-99-99", ("line 4: 2001-99-99: a value is not what its",)),
    ("fleet: three-pops", "fleet: *x", ("line 4: ", "found undefined alias")),
    ("fleet: three-pops", "\tfleet: x", ("line 4: ", "cannot start any token")),
    ("fleet: three-pops", "fleet: a\n---", ("line 5: ", "another document")),
    ("fleet: three-pops", 'fleet: "a\\0b"', ("fleet", "is not a name")),
    ("city: Jakarta", 'city: "\\ud800"', ("holds a character that is none",)),
    ("city: Jakarta", "city: " + "[" * 1000, ("nests too deeply",)),
    ("  eea-strict:", "  eea_strict:", ("keys", "'eea_strict' is not a name")),
    ("  cgk:", "  CGK:", ("pops", "'CGK' is not a name")),
    (
        "model: smollm2-135m-instruct, slots",
        "model: gpt, slots",
        ("sin-chat.embedded.model", "'gpt'"),
    ),
]
SERVICES: list[tuple[str, tuple[str, ...]]] = [
    ("control: {url: 'ftp://a'}", ("control.url", "'ftp://a'", "http(s) URL, as")),
    ("control: {url: 'http://a', public_key: x}", ("control.public_key", "32 bytes in base64")),
    ("control: {key: x}", ("control: ", "field `key`")),
    ("control: {}", ("control: ", "missing required field `url`")),
    ("collectors: {eea: {url: a}}", ("collectors.eea.url", "http(s) URL, as")),
    ("collectors: {moon: {url: 'http://a'}}", ("collectors.moon", "is not under zones; collec")),
    ("collectors: {eea: {url: 'http://a', public_key: 3}}", ("collectors.eea.public_key", "str")),
    ("collectors: {eea: 'http://a'}", ("collectors.eea", "Expected `object`")),
]
BROKEN += [("fleet: three-pops", f"fleet: three-pops\n{one}", words) for one, words in SERVICES]
ENGINES: list[tuple[str, tuple[str, ...]]] = [
    ("{}", ("pops.sin.engines.a", "has either 'embedded' or 'url'")),
    ("{in_flight_max: 0, url: 'http://a'}", ("in_flight_max", ">= 1")),
    ("{url: 'http://a', embedded: {model: m}}", ("pops.sin.engines.a", "either 'embedded' or")),
    ("{embedded: {}}", ("pops.sin.engines.a.embedded", "missing required field `model`")),
    ("{url: 'http://a'}", ("pops.sin.engines.a.serves", "name at least one model")),
    ("{url: 'http://a', serves: {gpt: g}}", ("pops.sin.engines.a", "'gpt', which is not under")),
    ("{url: 'http://a', profile: vlm}", ("pops.sin.engines.a.profile", "is one of", "vllm")),
    ("{url: 'a:80', serves: {m: g}}", ("pops.sin.engines.a.url", "'a:80'", "http(s) URL, as")),
    ("{url: 'ftp://a', serves: {m: g}}", ("pops.sin.engines.a.url", "http(s) URL, as")),
    ("{url: 'http://a:x', serves: {m: g}}", ("pops.sin.engines.a.url", "http(s) URL, as")),
    ("{url: 'http://a:99999', serves: {m: g}}", ("pops.sin.engines.a.url", "http(s) URL, as")),
    ("{url: 'http:// a', serves: {m: g}}", ("pops.sin.engines.a.url", "http(s) URL, as")),
    ("{url: '', serves: {m: g}}", ("pops.sin.engines.a.url", "http(s) URL, as")),
    ("{url: 'http://[::1', serves: {m: g}}", ("pops.sin.engines.a.url", "http(s) URL, as")),
]
AT_ENGINES = "    engines:\n      sin-chat:"
BROKEN += [(AT_ENGINES, f"    engines:\n      a: {one}\n      sin-chat:", w) for one, w in ENGINES]


def refusal(path: Path) -> str:
    with pytest.raises(BadRelease) as caught:
        read_config(path)
    words = str(caught.value)
    assert words.startswith(f"{path}: ")
    assert "\n" not in words
    return words


@pytest.mark.parametrize(("old", "new", "fragments"), BROKEN)
def test_broken_files(tmp_path: Path, old: str, new: str, fragments: tuple[str, ...]) -> None:
    assert old in TEXT
    path = tmp_path / "fleet.yaml"
    path.write_text(TEXT.replace(old, new, 1), "utf-8")
    words = refusal(path)
    assert all(fragment in words for fragment in fragments), words


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"[]", "Expected `object`, got `array`"),
        (b"fleet: x", "missing required field `models`"),
        (b"fleet: \xff", "is not UTF-8 at byte 7"),
        (b"fleet: \x00", "unacceptable character"),
        (b"a: [", "line 1: "),
        (b"a: 'b", "line 1: "),
        (b"!!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_what_is_no_fleet_file(tmp_path: Path, content: bytes, fragment: str) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_bytes(content)
    assert fragment in refusal(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.yaml").endswith("cannot be read: No such file or directory")
    assert refusal(tmp_path).endswith("cannot be read: Is a directory")


def test_a_file_that_is_too_big(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    with path.open("wb") as file:
        file.truncate(CONFIG_BYTES_MAX + 1)
    assert refusal(path).endswith(f"exceeds {CONFIG_BYTES_MAX} bytes")


def places(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a nested value."""
    found = [at] if at else []
    pairs: list[tuple[Any, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    return found + [place for key, one in pairs for place in places(one, (*at, key))]


PLACES = places(DATA)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["sin", "SG", "EEA", "http://a:1", "a:1", "eea", "vllm", 0, -1, 2**64]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)


def replace_at(data: Any, place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> None:
    """Apply a change where the place still exists."""
    for key in place[:-1]:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict) and place[-1] in data:
        change(data, place[-1])


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "drop", "rename"]), VALUES),
        min_size=1,
        max_size=3,
    )
)
def test_any_change_is_refused_or_gives_a_release(changes: list[tuple[Any, str, Any]]) -> None:
    data = copy.deepcopy(DATA)
    for place, how, value in changes:

        def change(table: Any, key: Any, how: str = how, value: Any = value) -> None:
            if how == "rename":
                table[str(value)] = table.pop(key)
            elif how == "drop":
                del table[key]
            else:
                table[key] = value

        replace_at(data, place, change)
    try:
        config = msgspec.convert(data, FleetConfig)
        check_config(config)
    except (BadRelease, msgspec.ValidationError):
        return
    msgspec.json.decode(msgspec.json.encode(release_of(config)), type=Release)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, len(TEXT) - 1), st.text(max_size=3), st.integers(0, 40))
def test_any_edit_of_the_text_is_refused_in_one_line_or_holds(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: str, removed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "edited.yaml"
    path.write_text(TEXT[:at] + new + TEXT[at + removed :], "utf-8", errors="replace")
    words = ""
    try:
        read_config(path)
    except BadRelease as error:
        words = str(error)
    assert "\n" not in words


def test_a_class_may_have_a_cache() -> None:
    data = copy.deepcopy(DATA)
    classes = data["tenants"]["free"]["classes"]
    classes["standard"]["cache"] = {"semantic": "bounded", "wrong_hits_max": 0.02, "ttl_s": 60}
    config = msgspec.convert(data, FleetConfig)
    check_config(config)
    kind = release_of(config).tenants[2].classes[0]
    assert kind.cache == CacheRule("bounded", wrong_hits_max=0.02, ttl_s=60)
    assert release_of(config).tenants[0].classes[0].cache is None
    classes["standard"]["cache"] = {}
    assert release_of(msgspec.convert(data, FleetConfig)).tenants[2].classes[0].cache == CacheRule()


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ("{ semantics: static }", "unknown field `semantics`"),
        ("{ semantic: magic }", "magic"),
        ("{ ttl_s: 0 }", "classes.standard.cache.ttl_s: 0 is not from 1 to 31622400"),
        ("{ models: [gpt] }", "cache.models: 'gpt' is not under models"),
    ],
)
def test_a_cache_that_does_not_hold(cache: str, words: str, tmp_path: Path) -> None:
    rule = "standard: { zone: anywhere, ingress: transit-allowed"
    path = tmp_path / "fleet.yaml"
    path.write_text(TEXT.replace(rule, f"{rule}, cache: {cache}"), "utf-8")
    with pytest.raises(BadRelease) as caught:
        read_config(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
