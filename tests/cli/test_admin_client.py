"""Commands that ask the admin API: whatever they are given or answered, the error is a sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from selvedge.cli.admin_client import AdminClient
from selvedge.cli.main import commands
from selvedge.fabric import BadSetting, SelvedgeError, StoreFailed

OK = b"HTTP/1.1 200 OK\r\ncontent-length: "
ASKS = (
    ("tenant", "list"),
    ("tenant", "create", "x", "--class", "a=eea:in-zone"),
    ("tenant", "set", "x", "--requests-per-minute", "1"),
    ("key", "create", "--tenant", "x", "--class", "d"),
    ("key", "rotate", "x"),
    ("control", "grants"),
    ("control", "status"),
    ("control", "audit"),
)


class Door:
    """Answers whoever comes with the same bytes, and keeps what they sent."""

    def __init__(self) -> None:
        self.says = b""
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            client, _ = self._socket.accept()
            with client:
                self.heard.append(client.recv(65536))
                if self.heard[-1] == b"stop":
                    return
                client.sendall(self.says)

    def close(self) -> None:
        address = self._socket.getsockname()[:2]
        with socket.create_connection(address) as last:
            last.sendall(b"stop")
        self._thread.join()
        self._socket.close()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "admin.key").write_text("sa-a-b\n")
    (tmp_path / "file").write_text("x" * 2_000)
    return tmp_path / "home"


def call(*words: str) -> None:
    commands(list(words), standalone_mode=False)


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"garbage\r\n\r\n",
        OK + b"5\r\n\r\n[1]",
        OK + b"4\r\n\r\nnull",
        OK + b"2\r\n\r\n{}",
        OK + b"3\r\n\r\n\xff\xfe\xfd",
        OK.replace(b"200", b"500") + b"2\r\n\r\n[]",
        OK.replace(b"200", b"500") + b"9\r\n\r\n{",
        OK.replace(b"200", b"500") + b'12\r\n\r\n{"error": 1}',
    ],
)
def test_what_is_no_admin_api_is_said(home: Path, door: Door, says: bytes) -> None:
    door.says = says
    for words in ASKS:
        with pytest.raises(SelvedgeError, match=r"does not answer|no admin API|answered 500"):
            call(*words, "--home", str(home), "--admin", door.url)


def test_the_admin_key_follows_no_redirect_and_no_proxy(
    home: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Door()
    try:
        monkeypatch.setenv("http_proxy", other.url)
        door.says = f"HTTP/1.1 302 Found\r\nlocation: {other.url}/\r\n\r\n".encode()
        with pytest.raises(SelvedgeError, match="answered 302"):
            call("tenant", "list", "--home", str(home), "--admin", door.url)
        assert (len(door.heard), other.heard) == (1, [])
    finally:
        other.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("foo", "is not a URL"),
        ("http://", "is not a URL"),
        ("http://[::1", "is not a URL"),
        ("http://a b/", "is not a URL"),
        ("http://127.0.0.1:x", "is not a URL"),
        ("http://127.0.0.1:99999", "is not a URL"),
        ("ftp://127.0.0.1", "is not a URL"),
        ("file:///etc/hostname", "is not a URL"),
        ("http://admin.example:8190", "is not https: the admin key would travel in the open"),
        ("http://192.0.2.1:8190", "is not https"),
    ],
)
def test_where_a_key_is_sent(url: str, words: str) -> None:
    with pytest.raises(SelvedgeError, match=words):
        AdminClient(url, "sa-a-b")


def test_keys_and_authorities_that_cannot_be(home: Path) -> None:
    for key in ("a\nb", "é"):
        with pytest.raises(SelvedgeError, match="SELVEDGE_ADMIN_KEY holds characters"):
            AdminClient("https://admin.example", key)
    for file in ("none", "file"):
        with pytest.raises(SelvedgeError, match=f"--admin-ca {file} is no PEM file"):
            AdminClient("https://admin.example", "sa-a-b", Path(file))


@pytest.mark.parametrize("limit", ["9" * 5000, "1e3", "x", "", "1.5", "١"])
def test_limits_are_whole_numbers(home: Path, door: Door, limit: str) -> None:
    words = ("key", "create", "--tenant", "x", "--class", "d", "--requests-per-minute", limit)
    with pytest.raises(SelvedgeError, match="is not a whole number from 0 to"):
        call(*words, "--home", str(home), "--admin", door.url)


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("backup", "."), StoreFailed, "is not the name of a file"),
        (("backup", "home"), StoreFailed, "is not the name of a file"),
        (("upgrade", "--home", "file/sub"), StoreFailed, "cannot be made: Not a directory"),
        (("upgrade", "--database", "postgresql://[::"), BadSetting, "is not a URL"),
        (("upgrade", "--database", "sqlite:///file?timeout=x"), BadSetting, "takes none"),
        (("upgrade", "--database", "sqlite:///file"), SelvedgeError, "not a database"),
    ],
)
def test_what_the_store_is_told(
    home: Path, words: tuple[str, ...], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        call("control", *words)


def test_a_backup_goes_where_it_can(home: Path) -> None:
    call("control", "upgrade", "--home", str(home))
    with pytest.raises(SelvedgeError, match="Not a directory"):
        call("control", "backup", "file/x", "--home", str(home))
