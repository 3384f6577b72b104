"""``selvedge audit prove|verify|keys`` over a published release and logs on disk."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from selvedge.adapters import (
    FolderFiles,
    LogStore,
    keep_log_keys,
    open_release,
    operator_public_key,
    rotate_log_key,
)
from selvedge.control import Home
from selvedge.fabric import jurisdiction_origin, pop_origin
from selvedge.ledger import Entry, Sealed, SegmentHeader, seal, write_line
from selvedge.pop.access_record import access_file
from selvedge.tlog import COSIGNATURE, Checkpoint, Signer, month_of, sign_checkpoint
from tests.ledger.test_receipts import RECEIPT, SALT
from tests.support.fabric import EXAMPLE, Site

WITNESS = Signer("witness.example/w", bytes(range(32)), COSIGNATURE)
NOW_US = RECEIPT.ended_us
SHARD = month_of(NOW_US)
LOGS = f"""
log_domain: logs.example.net
logs:
  asean:
    url: http://127.0.0.1:9/nobody
    countries: [ID, SG]
    witnesses: [{{key: {WITNESS.verifier.text}, url: 'http://127.0.0.1:9'}}]
"""


def receipt_of(number: int, pop: str = "cgk", release: str = "") -> Sealed:
    said = msgspec.structs.replace(
        RECEIPT, id=f"rcpt_{number:032x}", ingress_pop=pop, release=1, release_hash=release
    )
    return seal(said, number, SALT, None)


class Logs:
    """The logs of ``cgk`` and of its jurisdiction, written by the store that PoPs use."""

    def __init__(self, site: Site) -> None:
        home = Home(site.home)
        self.home_folder = site.home / "jurisdictions" / "asean"
        self._pop = self._store(home.pop("cgk"), "log", partial(pop_origin, pop="cgk"))
        origin = partial(jurisdiction_origin, log="asean")
        self._home = self._store(self.home_folder, ".", origin)

    def _store(self, folder: Path, below: str, origin: Callable[..., str]) -> LogStore:
        (seed,) = keep_log_keys(folder).values()

        def sign(shard: str, size: int, root: bytes) -> bytes:
            name = origin("logs.example.net", "three-pops", shard=shard)
            return sign_checkpoint(Checkpoint(name, size, root), [Signer(name, seed)])

        store = LogStore(FolderFiles(folder / below), sign)
        if not store.open().shard:
            store.begin(SHARD, NOW_US)
        return store

    def log(self, *sealed: Sealed) -> None:
        """Receipts in the PoP's log, told to the jurisdiction's, cosigned and published."""
        self._pop.add([one.leaf() for one in sealed])
        note = self._pop.commit(NOW_US).note.encode()
        self._pop.publish(note)
        self._home.add([note])
        self._publish(self._home.commit(NOW_US).note.encode())

    def _publish(self, note: bytes) -> None:
        text = note.decode().split("\n\n")[0] + "\n"
        self._home.publish(note + WITNESS.cosign(text, NOW_US // 1_000_000).line.encode())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("audit")
    site = Site(folder / "home")
    text, ports = EXAMPLE.read_text(), iter(range(9101, 9200))
    while "threads: 1" in text:
        text = text.replace("threads: 1", f"port: {next(ports)}", 1)
    (folder / "fleet.yaml").write_text(text + LOGS)
    for pop in ("sin", "fra"):
        text = text.replace(f"  {pop}:\n", f"  {pop}:\n    peer: {pop}.example.net:8444\n")
    (folder / "fleet.yaml").write_text(text + LOGS)
    told = site.call("fleet", "publish", str(folder / "fleet.yaml"))
    assert told.code == 0, told.err
    logs = Logs(site)
    for first in range(0, 900, 300):
        logs.log(*(receipt_of(number) for number in range(first, first + 300)))
    return site


@pytest.fixture
def bundle(site: Site, tmp_path: Path) -> Path:
    receipt, out = tmp_path / "receipt.json", tmp_path / "out.json"
    receipt.write_bytes(msgspec.json.encode(receipt_of(417)))
    told = site.call("audit", "prove", str(receipt), "-o", str(out))
    assert told.code == 0, told.err
    assert told.out.startswith(f"{out}: ")
    return out


def test_a_receipt_is_proved_and_verified(site: Site, bundle: Path) -> None:
    told = site.call("audit", "verify", str(bundle))
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[-1] == "the bundle holds"
    assert "the leaf is at index 417 of 600" in told.out
    told = site.call("audit", "verify", str(bundle), "--json")
    assert told.json["holds"] is True
    assert all(one["good"] for one in told.json["findings"])


def test_what_is_proved_and_the_keys_are_told_as_json(site: Site, tmp_path: Path) -> None:
    receipt, out = tmp_path / "receipt.json", tmp_path / "out.json"
    receipt.write_bytes(msgspec.json.encode(receipt_of(417)))
    told = site.call("audit", "prove", str(receipt), "-o", str(out), "--json")
    facts = {"receipt": receipt_of(417).decode().id, "bundle": str(out)}
    assert told.json == facts | {"bytes": out.stat().st_size}
    for options in ((), ("--operator",), ("--shard", SHARD)):
        plain = site.call("audit", "keys", *options).out
        assert site.call("audit", "keys", *options, "--json").json == {"keys": plain.splitlines()}


def test_a_receipt_is_found_by_its_id_and_the_read_is_written_down(
    site: Site, bundle: Path, tmp_path: Path
) -> None:
    journal = site.home / "pops" / "cgk" / "receipts" / "receipts-00000001.log"
    journal.parent.mkdir(parents=True, exist_ok=True)
    records: list[Entry] = [SegmentHeader("cgk", 1, {}), receipt_of(416), receipt_of(417)]
    journal.write_bytes(b"".join(map(write_line, records)))
    out = tmp_path / "by-id.json"
    receipt = receipt_of(417).decode()
    told = site.call("audit", "prove", receipt.id, "-o", str(out))
    assert told.code == 0, told.err
    assert out.read_bytes() == bundle.read_bytes()
    (line,) = access_file(site.home / "pops" / "cgk").read_text().splitlines()
    assert json.loads(line)["what"] == "selvedge audit prove"
    assert json.loads(line)["of"] == receipt.id


def test_receipts_from_before_a_change_of_keys(site: Site, bundle: Path, tmp_path: Path) -> None:
    moved = Site(tmp_path / "home")
    shutil.copytree(site.home, moved.home)
    home = Home(moved.home)
    held = open_release(home.release_file.read_bytes(), operator_public_key(home.operator_key()))
    logs = Logs(moved)
    logs.log(sealed := receipt_of(5_000, release=held.hash))
    old = (tmp_path / "old.txt", moved.call("audit", "keys").out)
    for _ in range(3):
        rotate_log_key(home.pop("cgk"))
    told = moved.call("fleet", "publish", str(site.home.parent / "fleet.yaml"))
    assert told.code == 0, told.err
    new = (tmp_path / "new.txt", moved.call("audit", "keys").out)
    assert old[1] != new[1]
    (receipt := tmp_path / "receipt.json").write_bytes(msgspec.json.encode(sealed))
    out = tmp_path / "out.json"
    told = moved.call("audit", "prove", str(receipt), "-o", str(out))
    assert told.code == 0, told.err
    assert moved.call("audit", "verify", str(out)).code == 0
    for (path, text), code in ((old, 0), (new, 1)):
        path.write_text(text)
        told = moved.call("audit", "verify", str(out), "--keys", str(path))
        assert told.code == code, told.out
    shutil.rmtree(moved.home / "releases")
    told = moved.call("audit", "prove", str(receipt), "-o", str(out))
    assert "none of the keys that are trusted" in told.err
    told = moved.call("audit", "prove", str(receipt), "-o", str(out), "--keys", str(old[0]))
    assert told.code == 0, told.err


def test_others_verify_with_the_keys_that_are_printed(
    site: Site, bundle: Path, tmp_path: Path
) -> None:
    elsewhere = Site(tmp_path / "elsewhere")
    for words in (
        (),
        ("--log", "asean"),
        ("--shard", SHARD),
        ("--operator",),
    ):
        keys = tmp_path / "keys.txt"
        keys.write_text(site.call("audit", "keys", *words).out)
        told = elsewhere.call("audit", "verify", str(bundle), "--keys", str(keys))
        assert told.code == 0, told.out
    keys.write_text(site.call("audit", "keys", "--shard", "2020-01").out)
    told = elsewhere.call("audit", "verify", str(bundle), "--keys", str(keys))
    assert told.code == 1
    assert "is signed with a key of a log that is not trusted" in told.out
    told = elsewhere.call("audit", "verify", str(bundle))
    assert told.code == 1
    assert "give --keys FILE" in told.err


def test_a_changed_bundle_fails_with_one_sentence_and_code_1(site: Site, bundle: Path) -> None:
    data = bundle.read_bytes()
    for old, new, why in (
        (b'"tenant":"', b'"tenant":"x', "leads to another root"),
        (b"}\n", b"}", "cut short"),
        (b'"v":1}', b'"v": 1}', "canonical form"),
        (SALT[:4], b"AAAA", ""),
    ):
        (bent := bundle.with_name("bent.json")).write_bytes(data.replace(bytes(old), new))
        if bent.read_bytes() != data:
            told = site.call("audit", "verify", str(bent))
            assert told.code == 1
            lines = told.out.splitlines()
            assert lines[-1] == "the bundle does NOT hold"
            assert [line[:4] for line in lines].count("FAIL") == 1
            assert why in told.out
            assert site.call("audit", "verify", str(bent), "--json").json["holds"] is False


@pytest.fixture
def served(site: Site) -> Iterator[str]:
    """The jurisdiction's files, as a plain web server gives them."""
    folder = site.home / "jurisdictions" / "asean" / "public"

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_logs_are_read_from_a_url_or_a_copy(
    site: Site, served: str, bundle: Path, tmp_path: Path
) -> None:
    receipt = str(bundle.with_name("receipt.json"))
    public = site.home / "pops" / "cgk" / "log" / "public"
    for pop_log, log in (
        (str(public), served),
        (str(public.parent), str(site.home / "jurisdictions" / "asean" / "public")),
    ):
        out = tmp_path / "other.json"
        words = ("--pop-log", pop_log, "--log", log, "-o", str(out))
        told = site.call("audit", "prove", receipt, *words)
        assert told.code == 0, told.err
        assert out.read_bytes() == bundle.read_bytes()


def test_what_cannot_be_proved_says_why(site: Site, bundle: Path, tmp_path: Path) -> None:
    def prove(sealed: Sealed, *words: str) -> str:
        path = tmp_path / "asked.json"
        path.write_bytes(msgspec.json.encode(sealed))
        told = site.call("audit", "prove", str(path), "-o", str(tmp_path / "x"), *words)
        assert told.code == 1
        assert not (tmp_path / "x").exists()
        return told.err

    assert f"is in no shard of its PoP's log that was looked at ({SHARD})" in prove(receipt_of(901))
    assert "is no folder of a log" in prove(receipt_of(3, "sin"))
    assert "names no log for the jurisdiction of 'fra'" in prove(receipt_of(3, "fra"))
    assert "nor an http(s) URL" in prove(receipt_of(3), "--log", "ftp://x/y")
    assert "cannot be read" in prove(receipt_of(3), "--log", "http://127.0.0.1:1/")
    assert "is no folder of a log" in prove(receipt_of(3), "--log", str(tmp_path / "nowhere"))
    told = site.call("audit", "prove", "rcpt_no")
    assert "no receipt 'rcpt_no' at the PoPs under" in told.err
    (tmp_path / "other.json").write_text("{}")
    told = site.call("audit", "prove", str(tmp_path / "other.json"))
    assert "is not what 'selvedge receipts show ID --json' prints" in told.err
    other = Site(tmp_path / "empty")
    assert "no release under" in other.call("audit", "prove", "rcpt_no").err
    assert "no release under" in other.call("audit", "keys").err
    assert "names no log 'moon'; it names asean" in site.call("audit", "keys", "--log", "moon").err


def test_a_damaged_log_is_named(site: Site, bundle: Path, tmp_path: Path) -> None:
    public = site.home / "pops" / "cgk" / "log" / "public" / SHARD
    copy = tmp_path / "copy" / SHARD
    for path in public.rglob("*"):
        if path.is_file():
            target = copy / path.relative_to(public)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    receipt = str(bundle.with_name("receipt.json"))

    def prove() -> str:
        words = ("--pop-log", str(copy.parent), "-o", str(tmp_path / "x"))
        return site.call("audit", "prove", receipt, *words).err

    tile = copy / "tile" / "0" / "001"
    data = tile.read_bytes()
    tile.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "tile/0/001: does not hash to what the tile above says" in prove()
    tile.write_bytes(data[:-1])
    assert "tile/0/001: has 8191 bytes and not 8192" in prove()
    tile.write_bytes(data)
    assert prove() == ""
    checkpoint = copy / "checkpoint"
    note = checkpoint.read_text()
    checkpoint.write_text(note.replace("\n900\n", "\n901\n"))
    assert "does not hold" in prove()
    checkpoint.write_text(note[:-20])
    assert "cut short" in prove()
    checkpoint.unlink()
    assert "has no checkpoint there" in prove()


def test_what_is_no_file_of_keys_is_said_by_line(site: Site, bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    for text, why in (
        (b"log x\n", "line 1: key: 'x' is not name+id+base64"),
        (b"quorum none\n", None),
        (b"\xff", "cannot be read"),
        (b"", "have no line 'quorum'"),
    ):
        keys.write_bytes(text)
        told = site.call("audit", "verify", str(bundle), "--keys", str(keys))
        assert told.code == 1
        assert (why or "not trusted") in (told.err if why else told.out)
    told = site.call("audit", "verify", str(bundle), "--keys", str(tmp_path / "nowhere"))
    assert "cannot be read" in told.err


def test_the_bundle_is_what_0001_says_by_hand(bundle: Path) -> None:
    """The few lines of Python of proposal 0001, on what is in a bundle."""
    r = json.loads(bundle.read_bytes())
    sealed = receipt_of(417)
    body = json.dumps(r["receipt"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert body.encode() == bytes(sealed.receipt)
    assert base64.b64decode(r["salt"]) == SALT


def test_a_hold_on_a_tenant_that_no_release_names_is_doubted(site: Site) -> None:
    told = site.call("log", "hold", "add", "aseann", "--reason", "case 7")
    assert told.code == 0
    assert "'aseann' is no tenant of the release that serves" in told.err
    assert site.call("log", "hold", "add", "asean", "--reason", "case 7").err == ""
