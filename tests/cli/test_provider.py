"""``selvedge provider``: secrets come by standard input, and are never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selvedge.adapters import ProviderSecrets, read_secret, seal_release
from selvedge.cli.main import commands
from selvedge.control import Home
from selvedge.ledger import hash_passed
from tests.support.fleets import make_provider, make_release

SECRET = "sk-CANARY-77"


def told(*words: str, secret: str = "") -> Result:
    return CliRunner().invoke(commands, ["provider", *words], input=secret)


def test_set_list_and_drop(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path))
    made = told(
        "secret", "set", "openai", *home, "--pop", "sin", "--pop", "fra", secret=SECRET + "\n"
    )
    assert made.exit_code == 0, made.output
    assert made.output == "openai: sealed at sin, fra\n"
    for pop in ("sin", "fra"):
        directory = tmp_path / "pops" / pop
        identity = read_secret(directory / "identity.key")
        assert ProviderSecrets(directory, identity).open() == ({"openai": SECRET}, [])
    listed = told("secret", "list", *home, "--pop", "sin", "--json")
    assert json.loads(listed.output) == {"sin": {"openai": True}}
    state = ("--state-dir", str(tmp_path / "pops" / "sin"))
    assert told("secret", "list", *state).output.endswith("sin: openai\n")
    assert told("secret", "drop", "openai", *state).exit_code == 0
    again = told("secret", "drop", "openai", *state)
    assert "no secret 'openai' is sealed there" in str(again.exception)
    for one in (made, listed, again):
        assert SECRET not in one.output + str(one.exception)


@pytest.mark.parametrize(
    ("words", "secret", "said"),
    [
        (("secret", "set", "OPENAI", "--pop", "sin"), SECRET, "capitals are environment variables"),
        (("secret", "set", "openai"), SECRET, "has no release yet; say at which PoPs, by --pop"),
        (("secret", "set", "openai", "--pop", "sin"), "", "is empty"),
        (("secret", "set", "openai", "--pop", "../x"), SECRET, "'../x' is no PoP"),
        (("key", "import", "No Good"), SECRET, "is no id of a key"),
        (("key", "import", "acme"), "sk-\u00e9", "that no header can carry"),
    ],
)
def test_what_does_not_hold(tmp_path: Path, words: tuple[str, ...], secret: str, said: str) -> None:
    found = told(*words, "--home", str(tmp_path), secret=secret)
    assert found.exit_code != 0
    assert said in str(found.exception)
    assert SECRET not in found.output + str(found.exception)


def test_a_secret_is_no_argument(tmp_path: Path) -> None:
    found = told("secret", "set", "openai", SECRET, "--home", str(tmp_path), "--pop", "sin")
    assert found.exit_code == 2


def test_a_key_is_known_by_its_hash(tmp_path: Path) -> None:
    made = told("key", "import", "acme", "--home", str(tmp_path), secret=SECRET)
    assert made.exit_code == 0, made.output
    home = Home(tmp_path)
    assert home.passed_keys() == {"acme": hash_passed(home.pepper(), SECRET)}
    assert not any(
        SECRET.encode() in one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()
    )


def test_the_providers_of_the_release_that_serves(tmp_path: Path) -> None:
    home = Home(tmp_path)
    there = make_provider("openai-us", "US", keys=("one", "ENV_KEY"))
    sealed = seal_release(make_release(providers=(there,)), home.operator_key())
    home.release_file.write_bytes(sealed)
    words = ("--home", str(tmp_path))
    assert told("secret", "set", "one", *words, "--pop", "fra", secret=SECRET).exit_code == 0
    found = json.loads(told("list", *words, "--json").output)
    assert found == [
        {
            "id": "openai-us",
            "country": "US",
            "entity": "Vendor US",
            "models": ["chat"],
            "keys": {"one": ["fra"], "ENV_KEY": ["environment"]},
        }
    ]
    shown = told("list", *words).output
    assert "one: fra; ENV_KEY: environment" in shown
    assert SECRET not in shown
