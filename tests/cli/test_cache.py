"""``selvedge cache`` over a whole fabric: warm, explain, stats, purge; calibrate without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fabric import Fabric, Site, edited_example, running_fabric

RULE = "standard: { zone: asean, ingress: in-zone"
CACHE = ", cache: { semantic: static, threshold: 0.8, audit_one_in: 1000000 }"
MODEL = "smollm2-135m-instruct"
QUESTION = "How do I reset my router to its factory settings?"
LIKE = "How can I reset my router to its factory settings?"
SLOW = {"SELVEDGE_CACHE_RECALL_MS_MAX": "10000"}  # a machine that pauses is no slow encoder
CLASS = ("--tenant", "asean", "--class", "standard", "--pop", "sin")


def asked(fabric: Fabric, text: str) -> Any:  # Any: JSON
    """What `selvedge ask` says of a question in Singapore."""
    told = fabric.command(
        "ask", text, "--via", "sin", "--key", "asean", "--max-tokens", "5", "--json"
    )
    assert told.code == 0, told.err
    return told.json


def test_a_curve_is_drawn_of_labelled_pairs(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    like = {"question": QUESTION, "kept": LIKE}
    rows: list[dict[str, object]] = [{**like, "same": True, "similarity": 0.99}] * 400
    off = {"question": "Turn it on.", "kept": "Turn it off."}
    rows.append({**off, "same": False, "similarity": 0.97})
    rows += [{**like, "same": False, "similarity": 0.5}] * 100
    file.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    site, chart = Site(tmp_path), tmp_path / "curve.png"
    told = site.call("cache", "calibrate", str(file), "--json", "--chart", str(chart))
    assert told.code == 0, told.err
    assert told.json["pairs"] == 501
    first, last = told.json["points"]
    assert (first["hits"], first["wrong"], last["hits"]) == (400, 0, 500)  # a gate shut one out
    assert [one["threshold"] for one in told.json["suggested"]] == [None, 0.99]
    assert chart.read_bytes()[:4] == b"\x89PNG"
    plain = site.call("cache", "calibrate", str(file), "--no-gates")
    assert "0.970" in plain.out


def test_a_judge_is_held_against_the_labels(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    like = {"question": QUESTION, "kept": LIKE, "similarity": 0.99}
    rows: list[dict[str, object]] = [{**like, "same": True, "judged": True}] * 299
    rows += [{**like, "same": False, "judged": False}] * 50
    rows.append({**like, "same": True, "judged": None})
    file.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    site = Site(tmp_path)
    told = site.call("cache", "calibrate", str(file), "--json")
    assert told.code == 0, told.err
    assert told.json["judge"]["good_for"] == [0.01, 0.03]
    assert told.json["judge"]["trial"]["same_same"] == 299
    assert told.json["judge"]["trial"]["unsaid"] == 1
    file.write_text(json.dumps({**like, "same": False, "judged": True}), "utf-8")
    assert "not good enough" in site.call("cache", "calibrate", str(file)).out
    refused = site.call("cache", "calibrate", str(file), "--judge-url", "http://127.0.0.1:1/v1")
    assert (refused.code, "--judge-url needs --judge-model" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"question": "a"}', "line 2: Object missing required field `kept`"),
        ("nonsense", "line 2: "),
    ],
)
def test_a_line_that_does_not_hold_is_named(line: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"\n{line}\n", "utf-8")
    told = Site(tmp_path).call("cache", "calibrate", str(file))
    assert told.code == 1
    assert words in told.err


def test_without_a_cache_a_command_says_what_to_do(tmp_path: Path) -> None:
    told = Site(tmp_path).call("cache", "stats", "--home", str(tmp_path))
    assert (told.code, "give a data class 'cache'" in told.err) == (1, True)
    told = Site(tmp_path).call("cache", "purge", "--tag", "x", "--home", str(tmp_path))
    assert (told.code, "--tag needs --tenant" in told.err) == (1, True)
    assert "a PoP starts this" in Site(tmp_path).call("cache", "run").err


@pytest.mark.engine
@pytest.mark.fabric
def test_an_operator_warms_explains_and_purges(tmp_path: Path) -> None:
    config = edited_example(tmp_path / "fleet.yaml", (RULE, RULE + CACHE))
    pairs = tmp_path / "faq.jsonl"
    row: dict[str, Any] = {
        "prompt": QUESTION,
        "answer": "Hold it.",
        "model": MODEL,
        "parameters": {"max_tokens": 5},
    }
    pairs.write_text(json.dumps(row) + "\n", "utf-8")
    body = tmp_path / "body.json"
    message = {"role": "user", "content": LIKE}
    body.write_text(json.dumps({"model": MODEL, "messages": [message], "max_tokens": 5}), "utf-8")
    with running_fabric(tmp_path / "home", config, SLOW) as fabric:
        told = fabric.command("cache", "warm", str(pairs), *CLASS)
        assert (told.code, told.out) == (0, "sin: 1 answers kept for asean/standard\n"), told.err
        why = fabric.command("cache", "explain", "--body", str(body), *CLASS, "--json")
        assert why.code == 0, why.err
        assert (why.json["serve"], why.json["question"]) == (True, QUESTION)
        off = fabric.command("cache", "explain", "What is a selvedge?", "--model", MODEL, *CLASS)
        assert "none near" in off.out, off.err
        hit = asked(fabric, LIKE)
        assert (hit["answer"]["text"], hit["receipt"]["cache"]) == ("Hold it.", "hit")
        assert hit["receipt"]["cache_from"] is None
        assert hit["receipt"]["cache_entry"] == why.json["entry"]
        stats = fabric.command("cache", "stats", "--pop", "sin", "--json")
        (scope,) = stats.json["sin"]["scopes"]
        assert (scope["scope"][:2], scope["entries"]) == (["asean", "standard"], 1)
        assert "asean" in fabric.command("cache", "stats").out
        purged = fabric.command("cache", "purge", "--tenant", "asean", "--everything")
        assert purged.code == 0, purged.err
        assert asked(fabric, LIKE)["receipt"]["cache"] == "miss"
    assert fabric.left() == []
