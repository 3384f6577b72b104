"""Policies as text: what is read out of them, and what is refused, each with its name."""

from __future__ import annotations

import pytest

from selvedge.adapters import CEDAR_SCHEMA, read_policies
from selvedge.adapters.cedar import CLAUSES_MAX, POLICY_BYTES_MAX
from selvedge.adapters.cedar_text import NESTED_MAX, split_policies
from selvedge.fabric import ACTS, BadRelease
from selvedge.residency import Answer, Question, Site

TEXT = """
@id("in-eea")
permit(principal == Rule::"eu", action in [Action::"enter", Action::"process"], resource)
when { resource.groups.containsAny(["EEA", "UK"]) && resource.country != "HU" };
forbid(principal, action, resource == Site::"x")
unless { principal == Rule::"free" || ["a b"].contains(resource.entity) };
permit(principal is Rule, action == Action::"cache", resource is Site)
when { [Site::"y"].contains(resource) && resource.reach.containsAll(resource.groups) };
"""
SITE = Site("DE", ("EEA",), "Ours", "DE", (), (), ("DE",), (), ())


def test_clauses_are_what_the_text_says() -> None:
    one, two, three = read_policies(TEXT).clauses
    assert (one.name, one.permits, one.rules) == ("in-eea", True, {"eu"})
    assert (one.acts, one.attributes) == ({"enter", "process"}, {"groups", "country"})
    assert one.words == {("groups", "EEA"), ("groups", "UK"), ("country", "HU")}
    assert (one.mentions, one.sites) == ({"eu"}, frozenset())
    assert (two.name, two.permits, two.rules, two.acts) == ("policy1", False, None, None)
    assert (two.mentions, two.sites, two.words) == ({"free"}, {"x"}, {("entity", "a b")})
    assert (three.rules, three.acts, three.sites) == (None, {"cache"}, {"y"})
    assert three.attributes == {"reach", "groups"}
    assert read_policies(TEXT).rules == ["eu", "free"]


def test_answers_are_cedars_and_name_who_decided() -> None:
    decide = read_policies(TEXT).decide
    asked = [Question("eu", act, name, SITE) for act in ACTS for name in ("w", "x", "y")]
    asked.append(Question("free", "cache", "x", SITE))
    said = decide(asked)
    by = {(one.act, one.name): answer for one, answer in zip(asked, said, strict=True)}
    assert by["process", "w"] == Answer(True, ("in-eea",))
    assert said[asked.index(Question("eu", "process", "x", SITE))] == Answer(False, ("policy1",))
    assert by["log", "w"] == Answer(False, ())
    assert decide([]) == []
    elsewhere = Site("HU", ("EEA",), "Ours", "DE", (), (), ("DE",), (), ())
    # One site seen in two ways is asked about in two batches.
    both = [Question("eu", "enter", "w", SITE), Question("eu", "enter", "w", elsewhere)]
    assert [one.allowed for one in decide(both)] == [True, False]


def test_the_schema_names_every_act() -> None:
    assert all(act in CEDAR_SCHEMA for act in ACTS)


PERMIT = 'permit(principal == Rule::"eu", action, resource)'
WRONG = [
    ("permit(principal, action", "policies: are no Cedar: "),
    (f"{PERMIT} when {{ resource.group.contains(1) }};", "policies.policy0: "),
    (f'@id("mine") {PERMIT} when {{ resource.contry == "DE" }};', "policies.mine: "),
    (f"{PERMIT} when {{ resource.country == 3 }};", "policies.policy0: "),
    ('permit(principal == Role::"eu", action, resource);', "policies.policy0: "),
    ('permit(principal, action == Action::"proces", resource);', "policies.policy0: "),
    ("permit(principal == ?principal, action, resource);", "policies: hold a template"),
    (f'@id("a") {PERMIT}; @id("a") {PERMIT};', "policies.a: is the @id of two policies"),
    ("//" + "x" * POLICY_BYTES_MAX, f"policies: exceed {POLICY_BYTES_MAX} bytes"),
    (f"{PERMIT};\n" * (CLAUSES_MAX + 1), f"policies: are {CLAUSES_MAX + 1};"),
    (f"{PERMIT} when {{ {'(' * 5000}true{')' * 5000} }};", "policies: line 1: a policy nests"),
    (f"\n{PERMIT} when {{ {'[' * 5000} }};", "policies: line 2: a policy nests deeper than 32;"),
    (f"{PERMIT} when {{ true{' && true' * 5000} }};", "policies: line 1: a policy joins more"),
    (f"{PERMIT} when {{ {'if true then true else ' * 300}true }};", "policies: line 1: a policy"),
    (f"{PERMIT} when {{ resource{'.a' * 300} == 1 }};", "policies: line 1: a policy joins more"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_is_no_policy_is_one_line(text: str, words: str) -> None:
    with pytest.raises(BadRelease) as caught:
        read_policies(text)
    assert str(caught.value).startswith(words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_just_deep_enough_is_asked() -> None:
    long = " || ".join(f'resource.entity == "{number}"' for number in range(80))
    deep = "(" * (NESTED_MAX - 1) + long + ")" * (NESTED_MAX - 1)
    text = f'permit(principal == Rule::"eu", action, resource) when {{ {deep} }};'
    written = read_policies(text)
    assert [one.allowed for one in written.decide([Question("eu", "log", "w", SITE)])] == [False]


def test_policies_are_told_apart_whatever_their_strings_and_comments_hold() -> None:
    text = f'@id("a;}}\\"") {PERMIT}; // {{ ( ;\n{PERMIT} when {{ resource.entity == "//;(" }};'
    assert [one.name for one in read_policies(text).clauses] == ['a;}"', "policy1"]
    assert len(split_policies(text)) == 2
