"""``selvedge price``, as an operator types it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selvedge.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples/three-pops"
BOOK, FLEET = str(EXAMPLES / "prices.yaml"), str(EXAMPLES / "fleet.yaml")


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # Any: JSON
        return json.loads(self.out)


@dataclass
class Shell:
    """The command line in this process, over one home."""

    home: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Said:
        self.patch.setattr(sys, "argv", ["selvedge", "price", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = self.capture.readouterr()
        return Said(code, said.out, said.err)


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    for name in [one for one in os.environ if one.startswith("SELVEDGE_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("SELVEDGE_HOME", str(home))
    return Shell(home, monkeypatch, capsys)


def changed(tmp_path: Path, *changes: tuple[str, str]) -> str:
    text = Path(BOOK).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "changed.yaml"
    path.write_text(text)
    return str(path)


def test_check(shell: Shell, tmp_path: Path) -> None:
    told = shell("check", BOOK, "--fleet", FLEET)
    assert (told.code, told.err) == (0, "")
    assert "version 1, 9 models, 9 rows, 2 contracts: it holds" in told.out
    told = shell("check", BOOK, "--json")
    assert (told.json["version"], told.json["next_change"]) == (1, None)
    bad = changed(tmp_path, ("input: $0.022", "input: 0.022"))
    told = shell("check", bad)
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith(f"selvedge: {bad}: prices[0].input: 0.022 is not an amount")
    assert told.err.count("\n") == 1
    bad = changed(tmp_path, ("tenant: eea", "tenant: nobody"))
    assert shell("check", bad).code == 0
    assert "contracts.nobody.tenant" in shell("check", bad, "--fleet", FLEET).err
    bad = changed(tmp_path, ("model: all-minilm-l6-v2", "model: other"))
    told = shell("check", bad, "--fleet", FLEET, "--on", "2026-11-22")
    assert "no list price on 2026-11-22 of all-minilm-l6-v2" in told.err
    told = shell("check", BOOK, "--on", "yesterday")
    assert "--on: 'yesterday' is not a UTC day" in told.err


def test_show(shell: Shell) -> None:
    told = shell("show")
    assert (told.code, "no prices under" in told.err) == (1, True)
    told = shell("show", BOOK, "--on", "2026-11-22")
    assert "smollm2-135m-instruct   all   $0.022  $0.011   $0.11" in told.out
    assert "2000/10000 = $0.022/$0.11" in told.out
    assert "request" not in told.out
    assert max(map(len, told.out.splitlines())) <= 100
    told = shell("show", BOOK, "--tenant", "free", "--on", "2026-11-22")
    assert "tenant free has no contract on 2026-11-22: it pays the list" in told.out
    told = shell("show", BOOK, "--tenant", "eea", "--zone", "eea", "--on", "2026-11-22", "--json")
    assert told.json["contract"]["tenant"] == "eea"
    assert told.json["rows"][0]["input"] == 20_000
    told = shell("show", BOOK, "--tenant", "eea", "--zone", "eea", "--on", "2026-11-22")
    words = "contract of eea since 2026-11-01, in tokens; discount -5.0 %; -7.5 % above $1000.00"
    assert words in told.out
    told = shell("show", BOOK, "--tenant", "eea", "--on", "2026-10-31", "--json")
    assert told.json["contract"] is None


def test_publish(shell: Shell, tmp_path: Path) -> None:
    told = shell("publish", BOOK)
    assert (told.code, told.err) == (0, "")
    assert "there is no release yet" in told.out
    assert shell("publish", BOOK, "--json").json["release"] is None
    assert "price book 1" in shell("show").out
    other = changed(tmp_path, ("$0.022", "$0.023"))
    told = shell("publish", other)
    assert (told.code, "versions only grow: give this book 2 or more" in told.err) == (1, True)
    newer = changed(tmp_path, ("$0.022", "$0.023"), ("version: 1", "version: 2"))
    assert shell("publish", newer).code == 0
    assert shell("show", "--json").json["book"]["version"] == 2
    assert shell("show", "--version", "1", "--json").json["book"]["version"] == 1
    assert "version: 3 is not kept here" in shell("show", "--version", "3").err
    assert shell("compare", "--json").code == 0


def test_compare(shell: Shell, tmp_path: Path) -> None:
    assert "no prices under" in shell("compare").err
    told = shell("compare", BOOK)
    assert told.code == 0
    line = next(one for one in told.out.splitlines() if "llama-3.1-8b" in one and "bedrock" in one)
    assert line.split()[:3] == ["llama-3.1-8b-instruct", "bedrock", "$0.22/$0.22"]
    assert "llama-3.1-8b-instruct   ours                   $0.20/$0.20" in told.out
    assert "-9.1 %" in line
    assert "2026-01*" in line
    assert "  bedrock: https://aws.amazon.com/bedrock/pricing/" in told.out
    assert max(map(len, told.out.partition("\n\n")[0].splitlines())) <= 100
    assert "check before use" in told.out
    assert "no published price is known of smollm2-135m-instruct" in told.out
    told = shell("compare", BOOK, "--as", "smollm2-135m-instruct=llama-3.2-1b-instruct", "--json")
    mine = [one for one in told.json["compared"] if one["ours"]["model"].startswith("smollm2")]
    assert [one["theirs"]["vendor"] for one in mine] == ["cloudflare"]
    assert told.json["without"] == ["all-minilm-l6-v2"]
    assert "no published price of 'x'" in shell("compare", BOOK, "--as", "m=x").err
    assert "is not OURS=THEIRS" in shell("compare", BOOK, "--as", "m").err
    path = tmp_path / "map.json"
    path.write_text('{"v/x": {"input_cost_per_token": 2e-8, "litellm_provider": "v"}}')
    words = ("--map", str(path), "--as", "smollm2-135m-instruct=v/x", "--json")
    told = shell("compare", BOOK, *words)
    mine = [one for one in told.json["compared"] if one["ours"]["model"].startswith("smollm2")]
    assert [(one["source"], one["input_ppm"]) for one in mine] == [("map.json", 100_000)]


def test_propose(shell: Shell, tmp_path: Path) -> None:
    hyperscalers = ("--below", "bedrock", "--below", "vertex")
    told = shell("propose", BOOK, *hyperscalers, "--cost", "llama-3.1-8b-instruct=0.05/0.12")
    assert told.code == 0
    line = next(one for one in told.out.splitlines() if one.startswith("llama-3.1-8b"))
    assert "as it is" in line
    assert "66.3 %" in line
    assert "  - { model: llama-2-70b-chat, input: $1.716, output: $2.253 }" in told.out
    told = shell("propose", BOOK, "--below", "vertex")
    assert "none of those publishes a price of gpt-oss-20b; bedrock, fireworks, groq do" in told.out
    told = shell("propose", "--cost", "qwen3-32b=0.3/0.3", "--json")
    (one,) = told.json["proposed"]
    assert (one["input"], one["output"], one["below_cost"]) == (269_000, 548_000, ["input"])
    rows = "version: 1\nprices:\n" + shell("propose", BOOK).out.partition("prices:\n")[2]
    path = tmp_path / "proposed.yaml"
    path.write_text(rows)
    assert shell("check", str(path)).code == 0
    assert "is not a band" in shell("propose", BOOK, "--by", "12-7").err
    assert "no prices of 'aws'" in shell("propose", BOOK, "--below", "aws").err
