"""``selvedge sla``: the month of two outages and a slow week, as a customer gets it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from click.testing import CliRunner, Result

from selvedge.adapters import PARTITIONS, part_name, read_prices, write_parquet
from selvedge.cli.main import commands
from selvedge.cli.sla_words import bars, milli_words, share_words, time_words
from selvedge.control import read_maintenance
from selvedge.fabric import SelvedgeError
from selvedge.ledger import Sealed, UsageRow, canonical, row_of_receipt
from tests.adapters.test_service_parts import TYPES
from tests.support.months import BOOK, WINDOW, receipts_of_month

BOOK_TEXT = """\
version: 3
prices:
  - {model: small, input: 20000, output: 80000}
contracts:
  - {tenant: acme, since: 1970-01-01, sla: gold}
slas:
  - id: gold
    objectives:
      - {model: "*", availability_ppm: 995000}
      - {model: large, availability_ppm: 995000, ttft_p95_ms: 1500, itl_p95_ms: 60}
    credits:
      - {below_ppm: 995000, credit_ppm: 100000}
      - {below_ppm: 990000, credit_ppm: 250000}
      - {below_ppm: 950000, credit_ppm: 1000000}
    latency_credit_ppm: 50000
    credit_ppm_max: 500000
"""
WINDOWS_TEXT = """\
- {since: 2026-11-25T00:00Z, until: 2026-11-25T02:00:00Z, announced: 2026-11-20, why: new racks}
"""


def usage_row(number: int, receipt: object) -> UsageRow:
    sealed = Sealed(msgspec.Raw(canonical(receipt)), "")  # type: ignore[arg-type]
    return msgspec.structs.replace(row_of_receipt(sealed, sealed.decode()), seq=number)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the book and the windows, and a collector's directory with the month."""
    where = tmp_path_factory.mktemp("home")
    (where / "prices.yaml").write_text(BOOK_TEXT)
    (where / "maintenance.yaml").write_text(WINDOWS_TEXT)
    days: dict[str, list[UsageRow]] = {}
    for number, receipt in enumerate(receipts_of_month()):
        row = usage_row(number, receipt)
        days.setdefault(row.day, []).append(row)
    for day, rows in days.items():
        place = where / "collected" / PARTITIONS / "zone=asean" / f"day={day}"
        place.mkdir(parents=True)
        write_parquet(place / part_name(1), TYPES, rows)
    return where


def ask(home: Path, *words: str) -> Result:
    given = ["sla", *words, "--home", str(home), "--collected", str(home / "collected")]
    given += [] if "--prices" in words else ["--prices", str(home / "prices.yaml")]
    return CliRunner().invoke(commands, given)


def test_the_files_say_what_the_month_is_made_of(home: Path) -> None:
    assert read_prices(home / "prices.yaml") == BOOK
    assert read_maintenance(home / "maintenance.yaml") == (WINDOW,)
    assert read_maintenance(None) == ()


def test_the_report_is_the_one_in_the_documentation(home: Path) -> None:
    found = ask(home, "report", "acme", "--month", "2026-11")
    assert found.exit_code == 0, found.output
    shown = [line.rstrip() for line in found.output.splitlines()]
    document = Path(__file__).parents[2] / "docs" / "money.md"
    assert "\n".join(shown).strip() in document.read_text("utf-8")


def test_json_has_every_figure(home: Path) -> None:
    found = ask(home, "report", "--month", "2026-11", "--json")
    large, small = json.loads(found.output)
    assert (small["availability_ppm"], small["bad"], small["credit"]["ppm"]) == (
        993_106,
        98,
        100_000,
    )
    assert small["budget"] == {
        "allowed": 71,
        "bad": 98,
        "spent_ppm": 1_378_728,
        "left_ppm": -378_728,
    }
    assert [one["kind"] for one in large["verdicts"] if not one["met"]] == ["ttft_p95"]
    assert len(large["days"]) == 30


def test_the_page_stands_alone(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    found = ask(home, "report", "acme", "--month", "2026-11", "--html", str(page))
    assert (found.exit_code, found.output) == (0, "")
    text = page.read_text("utf-8")
    assert "99.3106 %" in text
    assert "Credit: 10 % of the model&#x27;s charges" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    for svg in text.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + svg.split("</svg>")[0] + "</svg>")
    assert text.count("<svg") == 6


@pytest.mark.parametrize(
    ("at", "code", "firing"),
    [
        ("2026-11-07T09:59:00", 0, []),
        ("2026-11-07T11:30:00", 3, ["1h/5m", "6h/30m", "3d/6h"]),  # in the first outage
        ("2026-11-07T13:00:00", 4, ["3d/6h"]),  # over; the budget has not recovered
        ("2026-11-19T04:00:00", 3, ["1h/5m", "6h/30m", "3d/6h"]),
        ("2026-11-25T01:30:00", 0, []),  # announced
    ],
)
def test_what_burns_when(home: Path, at: str, code: int, firing: list[str]) -> None:
    found = ask(home, "burn", "--at", at, "--json")
    assert found.exit_code == code, found.output
    rates = [one for one in json.loads(found.output) if one["model"] == "small"]
    assert [one["rule"] for one in rates if one["firing"]] == firing


def test_burn_for_people_and_for_prometheus(home: Path) -> None:
    shown = ask(home, "burn", "acme", "--at", "2026-11-07T11:30:00")
    assert shown.exit_code == 3
    assert "page" in shown.output
    gauges = ask(home, "burn", "--at", "2026-11-07T11:30:00", "--prometheus").output
    line = (
        'selvedge_sla_burn_rate{tenant="acme",model="small",windows="1h/5m",window="short"} 200.000'
    )
    assert line in gauges
    assert gauges.count("# TYPE") == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["report", "nobody", "--month", "2026-11"], "tenant 'nobody' has no service level in"),
        (
            ["report", "--month", "2026-11", "--prices", "absent.yaml"],
            "cannot be read",
        ),
        (["report", "--month", "11"], "write it as 2026-11"),
        (["report", "--month", "2026-11", "--maintenance", "gone.yaml"], "cannot be read"),
    ],
)
def test_what_cannot_be_told_is_named(home: Path, words: list[str], why: str) -> None:
    found = ask(home, *words)
    assert isinstance(found.exception, SelvedgeError)
    assert why in str(found.exception)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- {since: 2026-11-25, until: 2026-11-25, announced: 2026-11-01}", r"\[0\]: it ends"),
        (
            "- {since: 2026-11-25, until: 2026-11-26, announced: 2026-11-25}",
            "announced .* when it had begun",
        ),
        ("- {since: soon, until: 2026-11-26, announced: 2026-11-25}", r"\[0\].since: 'soon' is no"),
        ("- {since: 2026-11-25}", "missing required field"),
        ("a: [", "is no YAML"),
    ],
)
def test_windows_that_say_nothing_clear(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "windows.yaml"
    path.write_text(text)
    with pytest.raises(SelvedgeError, match=why):
        read_maintenance(path)


def test_words_are_exact() -> None:
    assert [share_words(one) for one in (993_106, 1_000_000, 999_999, 50_000, -378_728, None)] == [
        "99.3106 %",
        "100 %",
        "99.9999 %",
        "5 %",
        "-37.8728 %",
        "-",
    ]
    assert [time_words(one) for one in (1_500_000, 53_100, None)] == ["1,500 ms", "53.1 ms", "-"]
    assert [milli_words(one) for one in (14_400, 1, None)] == ["14.40", "0.00", "-"]
    assert bars([0, None, 4, 8]) == "▁·▅█"
    assert bars([0, 0]) == "▁▁"


def test_the_credits_are_on_the_invoice(home: Path) -> None:
    """10 % of what `small` comes to, and 5 % of `large`: as the report says."""
    small = "  - {model: small, input: 20000, output: 80000}\n"
    book = home / "both.yaml"
    book.write_text(BOOK_TEXT.replace(small, small + small.replace("small", "large")))
    given = ["invoice", "acme", "--month", "2026-11", "--prices", str(book), "--json"]
    given += ["--home", str(home), "--collected", str(home / "collected")]
    told = CliRunner().invoke(commands, given)
    assert told.exit_code == 0, told.output
    lines = json.loads(told.stdout)["bill"]["lines"]
    credits = {one["of"]: one["amount_micro_dollars"] for one in lines if one["kind"] == "credit"}
    # large: 8,494 + 123,981 = 132,475, of which 5 % are 6,623.75; small: 8,471 + 123,519 = 131,990.
    assert credits == {"large": -6_624, "small": -13_199}
