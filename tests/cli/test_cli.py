"""The commands, as a user types them, against a real fabric."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from selvedge.cli import main
from tests.support.fabric import (
    EXAMPLE,
    Fabric,
    Site,
    edited_example,
    running_fabric,
    tiny_disk,
    wait_gone,
)

QUESTION = "Name three uses of a selvedge."


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    with running_fabric(tmp_path_factory.mktemp("fabric") / "home") as one:
        yield one
        assert one.interrupt() == 0


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "home")


@pytest.mark.fabric
def test_up_says_what_runs(fabric: Fabric) -> None:
    assert set(fabric.running["pops"]) == {"cgk", "sin", "fra"}
    # PoPs, engines, links, collectors, the control process
    assert len(fabric.pids) == 3 + 4 + 1 + 3 + 1
    assert set(fabric.keys) == {"asean", "eea", "eea-strict", "free"}
    assert (fabric.home / "keys.json").stat().st_mode & 0o777 == 0o600
    assert (fabric.home / "operator.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.fabric
def test_ask_shows_answer_path_and_receipt(fabric: Fabric) -> None:
    told = fabric.command("ask", QUESTION, "--max-tokens", "8")
    assert (told.code, told.err) == (0, "")
    rows = [line.rstrip() for line in told.out.partition("entered at")[2].splitlines()[1:]]
    words = dict(row.split(maxsplit=1) for row in rows)
    assert words["processed_in"] == "SG"
    assert words["outcome"].startswith("complete, status 200, finish: ")
    assert words["attested"].startswith("by sin, SG, Example Edge Singapore")


@pytest.mark.fabric
def test_pops_hear_each_other_and_say_why(fabric: Fabric) -> None:
    heard: dict[str, set[str]] = {}
    until = time.monotonic() + 30
    while heard != {"cgk": {"sin", "fra"}, "sin": {"fra"}, "fra": {"sin"}}:
        assert time.monotonic() < until, heard
        told = fabric.call("fleet", "load", "--json")
        heard = {pop: set(page["hears"]) for pop, page in told.json.items()}
    engine = told.json["sin"]["engines"]["sin-chat"]
    assert (engine["in_flight"], engine["slots"]) == (0, 4), "slots are the engine's own word"
    shown = fabric.call("fleet", "load")
    assert "sin/sin-chat" in shown.out
    assert "predictive" in shown.out
    told = fabric.command("ask", QUESTION, "--max-tokens", "4", "--key", "free", "--explain")
    assert "sin (SG), then fra (DE)" in told.out
    assert "attempt 1" in told.out
    assert "rtt " in told.out.partition("relayed in")[2]


@pytest.mark.fabric
@pytest.mark.parametrize(
    ("tenant", "allowed"), [("asean", {"SG"}), ("eea", {"DE"}), ("free", {"SG", "DE"})]
)
def test_residency_shows_in_the_answer_and_in_the_receipt(
    fabric: Fabric, tenant: str, allowed: set[str]
) -> None:
    # "free" goes to the nearer engine, unless that one is slow just now.
    words = ("ask", QUESTION, "--tenant", tenant, "--max-tokens", "4", "--json")
    told = fabric.call(*words)
    assert (told.code, told.err) == (0, "")
    answer, receipt = told.json["answer"], told.json["receipt"]
    country = answer["processed_in"]
    assert answer["status"] == 200
    assert country in allowed
    assert answer["text"]
    assert receipt["id"] == answer["receipt_id"]
    assert (receipt["processed_in"], receipt["ingress_country"]) == (country, "ID")
    assert receipt["outcome"] == "complete"
    shown = fabric.call("receipts", "show", receipt["id"], "--json")
    assert shown.json["receipt"] == receipt
    assert len(shown.json["leaf"]) == 64


@pytest.mark.fabric
def test_a_refusal_is_shown_with_its_rule_and_fails(fabric: Fabric) -> None:
    told = fabric.call("ask", QUESTION, "--tenant", "eea-strict", "--json")
    assert told.code == 1
    assert told.json["answer"]["status"] == 451
    assert told.json["receipt"]["outcome"] == "refused"
    shown = fabric.call("ask", QUESTION, "--tenant", "eea-strict")
    assert shown.code == 1
    assert "451 " in shown.out


@pytest.mark.fabric
def test_receipts_tail(fabric: Fabric) -> None:
    asked = fabric.call("ask", QUESTION, "--max-tokens", "1", "--json").json["receipt"]
    told = fabric.call("receipts", "tail", "--json", "-n", "1")
    (last,) = map(json.loads, told.out.splitlines())
    assert last == asked
    assert fabric.call("receipts", "tail", "--json", "-n", "0").out == ""
    table = fabric.call("receipts", "tail", "--pop", "cgk")
    assert asked["id"] in table.out
    assert "sin/sin-chat" in table.out
    none = fabric.call("receipts", "tail", "--pop", "fra", "--json")
    assert (none.code, none.out) == (0, "")


@pytest.mark.fabric
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("receipts", "show", "rcpt_no"), "no receipt 'rcpt_no' under"),
        (("receipts", "tail", "--pop", "xxx"), "no receipts of any PoP 'xxx' under"),
        (("receipts", "tail", "--pop", "/etc"), "no receipts of any PoP '/etc' under"),
        (("receipts", "tail", "--pop", "../pops/cgk"), "no receipts of any PoP"),
        (("ask", "?", "--via", "xxx"), "no PoP 'xxx' runs; there are cgk, sin, fra"),
        (("ask", "?", "--tenant", "xxx"), "no key 'xxx'; there are asean, eea, eea-strict, free"),
        (("up", "--any-port"), "a fabric already runs from"),
    ],
)
def test_what_there_is_not_is_one_sentence(
    fabric: Fabric, words: tuple[str, ...], sentence: str
) -> None:
    told = fabric.call(*words)
    assert told.code == 1
    last = told.err.splitlines()[-1]
    assert last.startswith(f"selvedge: {sentence}")
    # Above all, a second `up` takes nothing from the first.
    assert fabric.call("ask", QUESTION, "--max-tokens", "1").code == 0


@pytest.mark.fabric
def test_fleet_show(fabric: Fabric) -> None:
    told = fabric.call("fleet", "show", "--json")
    assert told.json["release"]["fleet"] == "three-pops"
    assert told.json["hash"].startswith("sha256:")
    table = fabric.call("fleet", "show").out
    assert "fleet three-pops, release 1, sha256:" in table
    row = next(line for line in table.splitlines() if line.startswith("eea/strict"))
    assert row.split() == ["eea/strict", "eea", "in-zone", "fra"]


@pytest.mark.fabric
def test_without_singapore(fabric: Fabric) -> None:
    """The last test of this fabric: a PoP dies, and no border is crossed for it."""
    pid = json.loads((fabric.home / "run.json").read_bytes())["pops"]["sin"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    told = fabric.call("ask", QUESTION, "--tenant", "asean", "--json")
    assert told.code == 1
    assert told.json["answer"]["status"] == 503
    assert told.json["receipt"]["outcome"] == "failed"
    assert {one["pop"] for one in told.json["receipt"]["attempts"]} == {"sin"}
    free = fabric.call("ask", QUESTION, "--tenant", "free", "--max-tokens", "4", "--json")
    assert free.code == 0
    assert free.json["answer"]["served_by"].startswith("fra")
    assert free.json["receipt"]["processed_in"] == "DE"
    gone = fabric.call("ask", QUESTION, "--via", "sin")
    assert gone.code == 1
    assert len(gone.err.splitlines()) == 1
    assert gone.err.startswith("selvedge: ")


# Without a fabric.


def test_version(site: Site) -> None:
    assert set(site.call("version", "--json").json) == {"selvedge", "python", "compiled"}
    assert site.call("version").out.startswith("selvedge ")


def test_fleet_check(site: Site, tmp_path: Path) -> None:
    example = "examples/three-pops/fleet.yaml"
    facts = {"fleet": "three-pops", "pops": 3, "tenants": 3}
    assert site.call("fleet", "check", example, "--json").json == facts
    assert site.call("fleet", "check", example).out.endswith("3 PoPs, 3 tenants: it holds\n")
    broken = edited_example(tmp_path / "fleet.yaml", ("groups: [EEA]", "groups: [EAA]"))
    for words in (("fleet", "check", str(broken)), ("up", str(broken))):
        told = site.call(*words)
        assert (told.code, told.out) == (1, "")
        assert told.err.startswith(f"selvedge: {broken}: zones.eea.groups: 'EAA' is not a group ")
        assert len(told.err.splitlines()) == 1
    assert not site.home.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ask", "?"), "no fabric runs from"),
        (("receipts", "tail"), "no receipts of any PoP under"),
        (("receipts", "show", "x"), "no receipts of any PoP under"),
        (("fleet", "show"), "no release under"),
        (("fleet", "check", "none.yaml"), "none.yaml: cannot be read: No such file or directory"),
        (("up", "none.yaml"), "none.yaml: cannot be read: No such file or directory"),
        (("pop", "--settings", "none.yaml"), "setting none.yaml: cannot be read: No such file"),
    ],
)
def test_errors_are_one_sentence(site: Site, words: tuple[str, ...], sentence: str) -> None:
    told = site.command(*words) if words[0] == "pop" else site.call(*words)
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith(f"selvedge: {sentence}")
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize("words", [("pop", "--bad"), ("what",), ("ask",), ("up", "--wan", "x")])
def test_wrong_use_is_said_with_the_usage(site: Site, words: tuple[str, ...]) -> None:
    told = site.call(*words)
    assert told.code == 2
    assert "Usage: " in told.err


def test_a_pop_with_bad_settings(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    for text, words in (
        ("a: [", "settings.yaml: line 1: "),
        ("pop: sin\nunknown: 1", "unknown field `unknown`"),
    ):
        path.write_text(text)
        told = site.command("pop", "--settings", str(path))
        assert told.code == 1
        assert words in told.err
        assert len(told.err.splitlines()) == 1


def test_a_pop_on_a_full_disk(site: Site, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "8k") as disk:
        (disk / "filler").write_bytes(bytes(4096))
        path = tmp_path / "settings.yaml"
        path.write_text(
            f"{{pop: sin, listen: '127.0.0.1:0', state_dir: {disk}/state, release_file: none, "
            "operator_public_key: none, pepper_file: none}"
        )
        told = site.command("pop", "--settings", str(path))
    assert told.code == 1
    assert told.err.startswith("selvedge: ")
    assert told.err.endswith("No space left on device\n")
    assert len(told.err.splitlines()) == 1


def damaged(home: Path, name: str) -> None:
    home.mkdir()
    (home / name).write_bytes(b"{")


@pytest.mark.parametrize(
    ("name", "words"),
    [("run.json", ("ask", "?")), ("release.json", ("fleet", "show"))],
)
def test_damaged_files_are_named(site: Site, name: str, words: tuple[str, ...]) -> None:
    damaged(site.home, name)
    told = site.call(*words)
    assert told.code == 1
    assert len(told.err.splitlines()) == 1


def test_doctor_finds_what_is_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = site.call("doctor", "--json")
    assert told.code == int(any(one["remedy"] for one in told.json))
    assert site.call("doctor").code == told.code
    found = {one["what"]: one for one in told.json}
    assert not found["msgspec"]["remedy"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["selvedge", "doctor", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    remedies = {one["what"]: one["remedy"] for one in json.loads(capsys.readouterr().out)}
    assert remedies["msgspec"] == remedies["smollm2-135m-instruct"] == "make setup"


def test_publish_signs_what_a_pop_run_by_hand_needs(site: Site, tmp_path: Path) -> None:
    told = site.command("fleet", "publish", str(EXAMPLE), "--json")
    assert told.code == 1
    assert "pops.sin.engines.sin-chat.embedded.port: name the port" in told.err
    ports = iter(range(9101, 9200))
    text = EXAMPLE.read_text()
    while "threads: 1" in text:
        text = text.replace("threads: 1", f"port: {next(ports)}", 1)
    config = tmp_path / "fleet.yaml"
    config.write_text(text)
    told = site.command("fleet", "publish", str(config), "--json")
    assert "pops.sin.peer: name the host:port at which other PoPs reach its" in told.err
    for pop in ("sin", "fra"):
        text = text.replace(f"  {pop}:\n", f"  {pop}:\n    peer: {pop}.example.net:8444\n")
    config.write_text(text)
    first = site.command("fleet", "publish", str(config), "--json").json
    again = site.command("fleet", "publish", str(config), "--json").json
    assert (first["release"], again["release"]) == (1, 2)
    assert first["operator_public_key"] == again["operator_public_key"]
    assert first["keys"] == again["keys"]
    assert set(first["keys"]) == {"asean", "eea", "eea-strict", "free"}
    assert Path(first["release_file"]).is_file()
    for name in ("identity.key", "peer.pem"):
        assert all((Path(one) / name).is_file() for one in first["state_dirs"].values())
    told = site.command("fleet", "rotate", "sin")
    assert (told.code, told.out.split(":")[0]) == (0, "step 1 of 3")
    assert (site.home / "pops/sin/peer-next.pem").is_file()
    told = site.command("fleet", "rotate", "nowhere")
    assert (told.code, "no PoP 'nowhere' under" in told.err) == (1, True)
