"""The independent checker, in Go with x/mod's note and tlog, agrees about our bundles."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from selvedge.tlog import Signer, verify_bundle
from tests.tlog.worlds import World, seed

SOURCE = Path(__file__).parents[2] / "contrib" / "bundlecheck"
GOPATH = Path("/usr/share/gocode")
MOD = GOPATH / "src" / "golang.org" / "x" / "mod" / "sumdb" / "note"


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None or not MOD.is_dir():
        pytest.skip("Debian's golang-go and golang-golang-x-mod-dev are not installed")
    folder = tmp_path_factory.mktemp("go")
    own = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOFLAGS": "", "CGO_ENABLED": "0"}
    environment = {**os.environ, **own, "GOCACHE": str(folder / "cache")}
    built = folder / "bundlecheck"
    command = [go, "build", "-o", str(built), "."]
    subprocess.run(command, cwd=SOURCE, env=environment, check=True, timeout=300)
    return built


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def keys(world: World) -> str:
    logs = (*world.pops.values(), world.home)
    lines = [f"log {log.signer.verifier.text}\n" for log in logs]
    lines += [f"witness w {witness.verifier.text}\n" for witness in world.witnesses]
    return "".join(lines)


class Check:
    """Runs the checker on a bundle in a folder of its own."""

    def __init__(self, checker: Path, folder: Path, keys_text: str) -> None:
        self._checker = checker
        self._bundle, self._keys = folder / "bundle.json", folder / "keys.txt"
        self._keys.write_text(keys_text)

    def __call__(self, data: bytes, quorum: int = 3) -> tuple[bool, str]:
        self._bundle.write_bytes(data)
        command = [str(self._checker), str(self._bundle), str(self._keys), str(quorum)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.returncode in (0, 1), ran.stderr
        assert "panic" not in ran.stderr
        return ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def check(checker: Path, tmp_path: Path, world: World) -> Check:
    return Check(checker, tmp_path, keys(world))


def test_it_agrees_about_good_bundles(check: Check, world: World) -> None:
    for name, count in world.counts.items():
        for number in range(0, count, 29):
            data = world.prove(name, number)
            good, said = check(data)
            assert good, said
            assert f"receipt rcpt_{name}_{number} is in {world.pops[name].origin}" in said
            assert all(one.good for one in verify_bundle(data, world.trust(3)))


def test_it_counts_witnesses_and_knows_keys(
    checker: Path, tmp_path: Path, check: Check, world: World
) -> None:
    data = world.prove("sg", 17)
    assert not check(data, quorum=4)[0]
    for text, why in (
        (
            keys(world).replace(world.home.signer.verifier.text, ""),
            "is not signed by a key of its own",
        ),
        ("\n".join(keys(world).splitlines()[:3]), "0 witnesses have cosigned, not 3"),
        (keys(World()).replace("log ", "#log "), "no verifiable signatures"),
    ):
        good, said = Check(checker, tmp_path, text)(data)
        assert not good
        assert why in said
    sg = world.pops["sg"]
    stranger = Signer(sg.origin, seed("stranger")).verifier.text
    other = keys(world).replace(sg.signer.verifier.text, stranger)
    assert "no verifiable signatures" in Check(checker, tmp_path, other)(data)[1]


def same_meaning(old: str, new: str) -> bool:
    """Whether two texts differ only in bits of base64 that mean nothing, which x/mod lets pass."""

    def plain(line: str) -> tuple[str, bytes]:
        head, _, tail = line.rpartition(" ")
        try:
            return head, base64.b64decode(tail, validate=True)
        except ValueError:
            return head, tail.encode()

    return [plain(one) for one in old.split("\n")] == [plain(one) for one in new.split("\n")]


def test_it_rejects_what_was_changed(check: Check, world: World) -> None:
    rng = Random(3)
    bundle = json.loads(world.prove("sg", 17))
    trust = world.trust(3)
    rejected = 0
    for _ in range(150):
        field = rng.choice(["receipt", "salt", "pop", "jurisdiction"])
        bent = dict(bundle)
        if field == "receipt":
            place = rng.choice(["id", "tenant", "ingress_pop", "route"])
            bent["receipt"] = {**bundle["receipt"], place: f"{bundle['receipt'][place]}x"}
        else:
            at = rng.randrange(len(bundle[field]))
            text = bundle[field][:at] + rng.choice("A0z=+/ \n") + bundle[field][at + 1 :]
            if same_meaning(text, bundle[field]):
                continue
            bent[field] = text
        text = json.dumps(bent, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        good, said = check(text.encode() + b"\n")
        assert not good, f"{field}: {said}"
        assert not verify_bundle(text.encode() + b"\n", trust)[-1].good
        rejected += 1
    assert rejected > 100


def test_it_rejects_parts_of_other_bundles(check: Check, world: World) -> None:
    mine, other = (json.loads(world.prove("sg", number)) for number in (17, 18))
    for field in ("receipt", "salt", "pop"):
        text = json.dumps(
            {**mine, field: other[field]},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        assert not check(text.encode())[0]


def test_it_rejects_a_fork_of_equal_size(checker: Path, tmp_path: Path) -> None:
    forked = World()
    forked.counts["sg"] += 1_000
    forked.log("sg", 5)
    forked.home.sign()
    check = Check(checker, tmp_path, keys(forked))
    data = forked.prove("sg", forked.counts["sg"] - 1)
    assert check(data, quorum=0)[0]
    assert "0 witnesses have cosigned, not 2" in check(data, quorum=2)[1]
