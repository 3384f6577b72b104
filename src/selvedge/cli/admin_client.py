"""The admin API as commands ask it: one request, one answer, errors as one sentence."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import click
import msgspec

from selvedge.cli.home_option import home_option, json_option
from selvedge.control import Home
from selvedge.fabric import SelvedgeError

ANSWER_S_MAX: Final = 15
F = TypeVar("F", bound=Callable[..., None])
Answer = Any  # Any: JSON of the admin API


class AdminClient:
    """One admin API, asked under one admin key."""

    def __init__(self, url: str, key: str, ca_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._tls = ssl.create_default_context(cafile=ca_file) if url.startswith("https") else None

    def ask(
        self, method: str, path: str, body: object = None, *, match: int | None = None
    ) -> Answer:
        """The answer's JSON. Raises `SelvedgeError` with the API's own sentence."""
        data = None if body is None else msgspec.json.encode(body)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        if match is not None:
            headers["if-match"] = f'"{match}"'
        url = f"{self._url}/admin/v1{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S_MAX, context=self._tls) as answer:
                return msgspec.json.decode(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise SelvedgeError(_words(error.read(), error.code)) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise SelvedgeError(
                f"the control process at {self._url} does not answer ({error}); "
                "'selvedge up' or 'selvedge control run' starts one"
            ) from error

    def all(self, path: str, **query: str | None) -> Iterator[Answer]:
        """Every row of a list, page by page."""
        given = {name: value for name, value in query.items() if value is not None}
        after: str | None = ""
        while after is not None:
            words = urlencode({**given, **({"after": after} if after else {}), "limit": "500"})
            page = self.ask("GET", f"{path}?{words}")
            yield from page["data"]
            after = page["next"]


def path_of(*names: str) -> str:
    """A path of names."""
    return "".join(f"/{quote(name, safe='')}" for name in names)


def _words(body: bytes, status: int) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return f"the control process answered {status}"


def admin_command(command: F) -> F:
    """``--home``, ``--json``, and whose admin API: by default the one that runs from the home."""
    for option in (
        click.option("--admin", envvar="SELVEDGE_ADMIN_URL", help="URL of the admin API."),
        click.option(
            "--admin-ca",
            type=click.Path(path_type=Path),
            help="PEM file of the authority that signed its certificate.",
        ),
        json_option,
        home_option,
    ):
        command = option(command)
    return command


def open_client(home: Path, admin: str | None, admin_ca: Path | None) -> AdminClient:
    """The client that the options name. Raises `SelvedgeError`."""
    files = Home(home)
    key = os.environ.get("SELVEDGE_ADMIN_KEY") or files.admin_key()
    if admin is not None:
        return AdminClient(admin, key, admin_ca)
    running = files.control()
    if running is None:
        raise SelvedgeError(
            f"no control process runs from {files.directory.absolute()}; 'selvedge up' or "
            "'selvedge control run' starts one, or give --admin"
        )
    return AdminClient(running.admin_url, key, admin_ca)
