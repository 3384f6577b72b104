"""Settings: file < environment < flag, and whatever is wrong is one line that names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import BadSetting
from selvedge.pop import load_settings, settings_table
from selvedge.pop.settings import Settings

GIVEN = {
    "pop": "sin",
    "listen": "127.0.0.1:8101",
    "state_dir": "state",
    "release_file": "release.json",
    "operator_public_key": "key",
    "pepper_file": "pepper.key",
}


def load(
    tmp_path: Path,
    text: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    path = tmp_path / "settings.yaml"
    path.write_text(text or msgspec.json.encode(GIVEN).decode(), "utf-8", errors="surrogateescape")
    return load_settings(path, environment or {}, flags or {})


def with_(**more: object) -> str:
    return msgspec.json.encode(GIVEN | more).decode()


def test_the_later_wins(tmp_path: Path) -> None:
    environment = {"SELVEDGE_LISTEN": "127.0.0.1:2", "SELVEDGE_DRAIN_MS": "7", "LISTEN": "x"}
    assert load(tmp_path).listen == "127.0.0.1:8101"
    assert load(tmp_path, environment=environment).address == ("127.0.0.1", 2)
    flags = {"listen": "[::1]:3", "state_dir": None}
    settings = load(tmp_path, environment=environment, flags=flags)
    assert (settings.address, settings.drain_ms) == (("::1", 3), 7)
    assert settings.state_dir == "state"


def test_the_environment_alone() -> None:
    environment = {f"SELVEDGE_{name.upper()}": value for name, value in GIVEN.items()}
    environment |= {
        "SELVEDGE_PEER_ADDRESSES": '{"fra": "127.0.0.1:9"}',
        "SELVEDGE_WAN_EMULATED": "true",
        "SELVEDGE_HOME": "elsewhere",
        "SELVEDGE_PARENT_PID": "1",
    }
    settings = load_settings(None, environment, {})
    assert (settings.pop, settings.wan_emulated) == ("sin", True)
    assert settings.peer_addresses == {"fra": "127.0.0.1:9"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_(drain=1), "setting file: Object contains unknown field `drain`"),
        (with_(drain_ms="soon"), "setting drain_ms: Expected `int`, got `str`"),
        (with_(drain_ms=0), "setting drain_ms: Expected `int` >= 1"),
        (with_(drain_ms=1.5), "setting drain_ms: Expected `int`"),
        (with_(drain_ms=None), "setting drain_ms: Expected `int`, got `null`"),
        (with_(listen="8101"), "setting listen: '8101' is not host:port, as '127.0.0.1:8101'"),
        (with_(listen=":8101"), "setting listen: ':8101' is not host:port"),
        (with_(listen="a:99999"), "setting listen: 'a:99999' is not host:port"),
        (with_(peer_addresses={"fra": "x"}), "setting peer_addresses: fra: 'x' is not host:port"),
        (with_(peer_addresses=[]), "setting peer_addresses: Expected `object`, got `array`"),
        ("pop: sin", "setting file: Object missing required field `listen`"),
        ("# nothing", "is not a table of settings"),
        ("[]", "is not a table of settings"),
        ("a: [", "settings.yaml: line 1: "),
        ("a: 1\na: 2", 'settings.yaml: line 2: found duplicate key "a"'),
        ("a: 2001-99-99", "a value is not what its form says"),
        ("a: \udcff", "settings.yaml: is not UTF-8 at byte 3"),
        ("1: 2", "setting "),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        load(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SELVEDGE_DRAIN_MS", "-1", "setting drain_ms: Expected `int` >= 1"),
        ("SELVEDGE_DRAIN_MS", "x", "setting drain_ms: Expected `int`"),
        ("SELVEDGE_WAN_EMULATED", "perhaps", "setting wan_emulated: Expected `bool`"),
        ("SELVEDGE_PEER_ADDRESSES", "{", "setting SELVEDGE_PEER_ADDRESSES: is not JSON: "),
        ("SELVEDGE_PEER_ADDRESSES", "x", "setting peer_addresses: Expected `object`"),
    ],
)
def test_a_bad_environment(tmp_path: Path, name: str, value: str, words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        load(tmp_path, environment={name: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"no\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "no.yaml", {}, {})


def test_the_table_has_every_setting() -> None:
    rows = settings_table(Settings).splitlines()
    names = [field.name for field in msgspec.structs.fields(Settings)]
    assert [row.split("`")[1] for row in rows[2:]] == names
    for row in rows[2:]:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4
        assert all(cells)
    assert "| `body_bytes_max` | int | 10,000,000 | Largest request body, in bytes. |" in rows
    assert "| `pop` | str | required | Id of this PoP in the release. |" in rows
    assert "| `wan_emulated` | bool | false | " in settings_table(Settings)
    assert "| `peer_addresses` | table | empty | " in settings_table(Settings) or (
        "| `peer_addresses` | dict | empty | " in settings_table(Settings)
    )


def test_a_policy_is_one_that_can_be_live(tmp_path: Path) -> None:
    for name in ("predictive", "round-robin", "least-load"):
        assert load(tmp_path, with_(routing_policy=name)).routing_policy == name
    for name in ("oracle", "luck"):
        with pytest.raises(BadSetting, match=f"routing_policy.*'{name}' is not one of predictive,"):
            load(tmp_path, with_(routing_policy=name))
