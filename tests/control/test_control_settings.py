"""Settings of the control process, and the documents that are made of its tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from selvedge.cli.documents import pages
from selvedge.control import CONTROL_ENV_PREFIX, ControlSettings
from selvedge.fabric import BadSetting
from selvedge.pop import load_table

ROOT = Path(__file__).parents[2]


def load(
    file: Path | None = None, environment: dict[str, str] | None = None, **flags: object
) -> ControlSettings:
    return load_table(ControlSettings, CONTROL_ENV_PREFIX, file, environment or {}, flags)


def test_file_below_environment_below_flags(tmp_path: Path) -> None:
    file = tmp_path / "control.yaml"
    file.write_text("home: a\npoll_ms: 5\noidc_roles: { owners: owner }\n")
    made = load(file, {"SELVEDGE_CONTROL_POLL_MS": "6", "SELVEDGE_POLL_MS": "7"}, home="b")
    assert (made.home, made.poll_ms, made.oidc_roles) == ("b", 6, {"owners": "owner"})
    assert made.database_url == "sqlite:///b/control.sqlite"
    assert load(home="/x", database="postgresql://h/n").database_url == "postgresql://h/n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"home": ".", "colour": 1}, "unknown field `colour`"),
        ({}, "missing required field `home`"),
        ({"home": ".", "admin_listen": "8190"}, "admin_listen: '8190' is not host:port"),
        ({"home": ".", "admin_listen": "0.0.0.0:8190"}, "admin keys would travel in the open"),
        ({"home": ".", "pops_listen": "x:99999"}, "pops_listen"),
        ({"home": ".", "tls_cert_file": "x"}, "needs tls_key_file beside it"),
        ({"home": ".", "oidc_roles": {"a": "king"}}, "oidc_roles"),
        ({"home": ".", "poll_ms": 0}, "poll_ms"),
        ({"home": ".", "release_after_ms": -1}, "release_after_ms"),
    ],
)
def test_what_cannot_be_stops_the_start(flags: dict[str, object], said: str) -> None:
    with pytest.raises(BadSetting, match="setting") as refused:
        load(**flags)
    assert said in str(refused.value)


def test_a_password_in_the_url_is_not_shown() -> None:
    made = load(home=".", database="postgresql://u:hidden@h/n")
    assert "hidden" not in repr(made)


def test_the_documents_are_those_of_the_tables() -> None:
    for name in ("control-reference.md", "settings.md", "errors.md"):
        written = (ROOT / "docs" / name).read_text("utf-8")
        assert written == pages()[name], f"docs/{name} is out of date: run `make docs`"
