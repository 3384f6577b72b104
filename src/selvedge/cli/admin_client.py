"""The admin API as commands ask it: one request, one answer, errors as one sentence."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import click
import msgspec

from selvedge.cli.home_option import home_option, json_option
from selvedge.control import Home
from selvedge.fabric import SelvedgeError
from selvedge.pop import is_loopback

ANSWER_S_MAX: Final = 15
F = TypeVar("F", bound=Callable[..., None])
Answer = Any  # Any: JSON of the admin API


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The admin key goes to the address that was named, and to no other."""

    def redirect_request(self, *_: object) -> None:
        return None


class AdminClient:
    """One admin API, asked under one admin key. Raises `SelvedgeError` where neither can be."""

    def __init__(self, url: str, key: str, ca_file: Path | None = None) -> None:
        host = _checked_host(url)
        if not (key.isascii() and key.isprintable()):
            raise SelvedgeError("SELVEDGE_ADMIN_KEY holds characters that no admin key has")
        self._url = url.rstrip("/")
        self._key = key
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if _is_here(host):
            handlers.append(urllib.request.ProxyHandler({}))
        if url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_trusting(ca_file)))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(
        self, method: str, path: str, body: object = None, *, match: int | None = None
    ) -> Answer:
        """The answer's JSON. Raises `SelvedgeError` with the API's own sentence.

        ``match`` is the version that is changed; 0: what is not there yet.
        """
        data = None if body is None else msgspec.json.encode(body)
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        if match is not None:
            headers["if-match" if match else "if-none-match"] = f'"{match}"' if match else "*"
        url = f"{self._url}/admin/v1{path}"
        try:
            request = urllib.request.Request(url, data, headers, method=method)
            with self._opener.open(request, timeout=ANSWER_S_MAX) as answer:
                found = msgspec.json.decode(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise SelvedgeError(_words(_body_of(error), error.code)) from error
        except (OSError, ValueError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise SelvedgeError(
                f"the control process at {self._url} does not answer ({error}); "
                "'selvedge up' or 'selvedge control run' starts one"
            ) from error
        if not str(answer.headers.get("x-request-id", "")).startswith("adm_"):
            raise SelvedgeError(f"what answers at {self._url} is no admin API; check the address")
        return found

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


def _checked_host(url: str) -> str:
    """The host of an admin API's URL, to which an admin key may be sent."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        raise SelvedgeError(f"--admin {url!r} is not a URL, as https://host:8190") from error
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[^\s\x00-\x1f]+", host):
        raise SelvedgeError(f"--admin {url!r} is not a URL, as https://host:8190")
    if parts.scheme == "http" and not _is_here(host):
        raise SelvedgeError(
            f"--admin {url!r} is not https: the admin key would travel in the open; only this "
            "machine's own addresses do without"
        )
    return host


def _is_here(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SelvedgeError(
            f"--admin-ca {ca_file} is no PEM file of certificates ({error.strerror or error})"
        ) from error


def _body_of(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read()
    except (OSError, http.client.HTTPException):
        return b""


def _words(body: bytes, status: int) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
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
