"""Policies of keys: what they accept, and each way in which one is wrong."""

from __future__ import annotations

import pytest

from selvedge.fabric import BadProof
from selvedge.tlog import COSIGNATURE, Signer, parse_trust, policy_text, sign_note
from tests.tlog.worlds import seed

LOG = Signer("example.net/f/pop/sg", seed("log")).verifier
OTHER = Signer("example.net/f/pop/fr", seed("other")).verifier
OPERATOR = Signer("example.net/f/operator", seed("operator"))
X1, X2, Y1 = (Signer(f"{name}.example", seed(name), COSIGNATURE).verifier for name in "abc")
POLICY = f"""
# a comment
log {LOG.text} https://example.net/
  log\t{OTHER.text}
witness X1 {X1.text}
witness X2 {X2.text} https://witness.example/
witness Y1 {Y1.text}
group X any X1 X2
group both all X Y1
quorum both
"""


def test_a_policy_with_groups_of_groups() -> None:
    trust = parse_trust(POLICY)
    assert [key.name for key in trust.logs] == [LOG.name, OTHER.name]
    assert trust.is_witnessed([X1, Y1])
    assert trust.is_witnessed([X2, Y1, X1])
    assert not trust.is_witnessed([X1, X2])
    assert not trust.is_witnessed([Y1])
    assert not trust.is_witnessed([])


def test_thresholds() -> None:
    text = policy_text([LOG], [X1, X2, Y1], 2, about="of a test")
    trust = parse_trust(text)
    assert text.startswith("# of a test\nlog ")
    assert trust.is_witnessed([X1, Y1])
    assert not trust.is_witnessed([X1, X1])
    one = parse_trust(f"witness X1 {X1.text}\nquorum X1\n")
    assert one.is_witnessed([X1])
    assert not one.is_witnessed([X2])
    assert parse_trust(policy_text([LOG], [], 0, about="none")).is_witnessed([])


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        (LOG.name, True),
        (f"{LOG.name}/2026-11", True),
        (f"{LOG.name}/2026-11.2", True),
        (f"{LOG.name}/2026-13", False),
        (f"{LOG.name}/2026-11.0", False),
        (f"{LOG.name}/2026-11/x", False),
        (f"{LOG.name}2026-11", False),
        ("example.net/f/pop", False),
        ("2026-11", False),
    ],
)
def test_a_key_stands_for_the_months_of_its_log(origin: str, good: bool) -> None:
    trust = parse_trust(POLICY)
    assert [key.public for key in trust.keys_of(origin)] == ([LOG.public] if good else [])
    assert all(key.name == origin for key in trust.keys_of(origin))


def test_an_operators_list() -> None:
    trust = parse_trust(f"operator {OPERATOR.verifier.text}\n")
    text = POLICY.replace("\t", " ")
    assert trust.by_note(sign_note(text, [OPERATOR])) == parse_trust(POLICY)
    assert trust.keys_of(LOG.name) == ()
    with pytest.raises(BadProof, match="none of the keys"):
        trust.by_note(sign_note(text, [Signer(OPERATOR.name, seed("another"))]))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "have no line 'quorum'"),
        ("logs x\n", "line 1: 'logs' is not one of log, witness, group, quorum, operator"),
        ("\n\nlog x\n", "line 3: key: 'x' is not name"),
        ("log\n", "line 1: has a key"),
        (f"log {LOG.text} url more\n", "line 1: has a key"),
        (f"log {X1.text}\n", "is of kind 4 and not 1"),
        (f"log {LOG.text}\nlog {LOG.text}\n", "line 2: .* is here twice; name its log without"),
        ("witness\n", "is 'witness NAME KEY'"),
        (f"witness X1 {LOG.text}\n", "is of kind 1 and not 4"),
        (f"witness X1 {X1.text}\nwitness X2 {X1.text}\n", "line 2: .* is here twice"),
        (f"witness X1 {X1.text}\nwitness X1 {X2.text}\n", "line 2: the name 'X1' is taken"),
        (f"witness none {X1.text}\n", "the name 'none' is taken"),
        ("group X any\n", "is 'group NAME"),
        ("group X any Y\n", "'Y' is not named on a line before"),
        (f"witness X1 {X1.text}\ngroup X 2 X1\n", "'2' is not all, any or 1 to 1"),
        (f"witness X1 {X1.text}\ngroup X 0 X1\n", "'0' is not all"),
        (f"witness X1 {X1.text}\ngroup X any X1 X1\n", "'X1' is a member already"),
        (f"witness X1 {X1.text}\ngroup X any X\n", "'X' is not named on a line before"),
        ("quorum X\n", "'X' is not named on a line before"),
        ("quorum none\nquorum none\n", "line 2: is one line 'quorum NAME'"),
        ("quorum a b\n", "line 1: is one line 'quorum NAME'"),
        (f"operator {OPERATOR.verifier.text}\nquorum none\n", "and not both"),
        ("#" * 2_000_000, "are larger than"),
    ],
)
def test_a_bad_policy_is_refused_by_line(text: str, why: str) -> None:
    with pytest.raises(BadProof, match=why):
        parse_trust(text)
