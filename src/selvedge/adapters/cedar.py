"""Cedar, the language of policies: text into clauses, and what it says when it is asked.

The only module that knows the engine (`cedarpy`). A policy is checked against the schema below
before anything is asked of it, so that no attribute is mistyped; where the engine cannot evaluate a
policy all the same, that is a denial.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from selvedge.adapters.cedar_text import split_policies
from selvedge.fabric import ACTS, BadRelease
from selvedge.residency import Answer, Clause, Question, Site, Written

if TYPE_CHECKING:
    import cedarpy

POLICY_BYTES_MAX: Final = 1024 * 1024
CLAUSES_MAX: Final = 4096
_ACTIONS: Final = ", ".join(ACTS)
SCHEMA: Final = f"""\
entity Rule;
entity Site {{
  country: String,
  groups: Set<String>,
  entity: String,
  entityCountry: String,
  parents: Set<String>,
  parentCountries: Set<String>,
  reach: Set<String>,
  transfers: Set<String>,
  certificates: Set<String>,
}};
action {_ACTIONS} appliesTo {{ principal: [Rule], resource: [Site] }};
"""
Node = Any  # a piece of Cedar's JSON form: dicts and lists as deep as the policy nests


def read_policies(text: str) -> Written:
    """A policy's text, checked, as clauses, with who decides by it. Raises `BadRelease`."""
    if len(text.encode()) > POLICY_BYTES_MAX:
        raise BadRelease("policies", f"exceed {POLICY_BYTES_MAX} bytes")
    import cedarpy  # noqa: PLC0415  # 10 MiB that only those load who ask it

    texts = split_policies(text)
    try:
        found = json.loads(cedarpy.policies_to_json_str(text))
    except (ValueError, RecursionError) as error:
        raise BadRelease("policies", f"are no Cedar: {_first(str(error))}") from error
    if found.get("templates") or found.get("templateLinks"):
        raise BadRelease("policies", "hold a template (?principal, ?resource); write it out")
    written: dict[str, Node] = found["staticPolicies"]
    if len(written) > CLAUSES_MAX:
        raise BadRelease("policies", f"are {len(written)}; {CLAUSES_MAX} is the most")
    if len(written) != len(texts):
        raise BadRelease("policies", "cannot be told apart; end each with ';'")
    names = _names(written)
    validated = cedarpy.validate_policies(text, SCHEMA)
    for wrong in validated.errors:
        where = f"policies.{names.get(wrong.policy_id, wrong.policy_id)}".rstrip(".")
        raise BadRelease(
            where, _first(wrong.error.removeprefix(f"for policy `{wrong.policy_id}`, "))
        )
    if not validated.validation_passed:
        raise BadRelease("policies", "do not hold against the schema")
    for id_, one in written.items():
        _check_reads(names[id_], one["conditions"])
    places = [f"policy{place}" for place in range(len(texts))]  # as the engine numbers them
    clauses = tuple(_clause(names[id_], written[id_]) for id_ in places)
    return Written(text, clauses, CedarDecider(clauses, texts))


class CedarDecider:
    """Asks Cedar. One handle a rule, of the clauses that can concern it; for one thread at a time.

    A policy whose principal is another rule never applies: leaving it out changes no answer.
    """

    def __init__(self, clauses: Sequence[Clause], texts: Sequence[str]) -> None:
        self._clauses = clauses
        self._texts = texts
        self._sets: dict[str, tuple[cedarpy.PolicySet, Mapping[str, str]]] = {}

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers, in order."""
        answers: list[Answer] = []
        for batch in _batches(questions):
            answers += self._ask(batch)
        return answers

    def _ask(self, questions: Sequence[Question]) -> Iterator[Answer]:
        import cedarpy  # noqa: PLC0415

        seen = {one.name: one.site for one in questions}
        entities = cedarpy.Entities.from_json_str(
            json.dumps([_entity(name, site) for name, site in seen.items()])
        )
        asked = [
            {
                "principal": {"type": "Rule", "id": one.rule},
                "action": {"type": "Action", "id": one.act},
                "resource": {"type": "Site", "id": one.name},
            }
            for one in questions
        ]
        policies, names = self._of(questions[0].rule)
        for one in cedarpy.is_authorized_batch(asked, policies, entities):
            said = one.diagnostics
            reasons = tuple(sorted(names[reason] for reason in said.reasons))
            yield Answer(one.allowed and not said.errors, reasons)

    def _of(self, rule: str) -> tuple[cedarpy.PolicySet, Mapping[str, str]]:
        """The policies that can concern a rule, and what each is called by its place there."""
        import cedarpy  # noqa: PLC0415

        found = self._sets.get(rule)
        if found is None:
            kept = [place for place, one in enumerate(self._clauses) if one.concerns(rule)]
            names = {f"policy{at}": self._clauses[place].name for at, place in enumerate(kept)}
            text = "\n".join(self._texts[place] for place in kept)
            found = self._sets[rule] = (cedarpy.PolicySet.from_str(text), names)
        return found


def _batches(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    """Runs of one rule in which no site is seen in two ways."""
    first = 0
    seen: dict[str, Site] = {}
    for place, one in enumerate(questions):
        other = seen.setdefault(one.name, one.site)
        if one.rule != questions[first].rule or (other is not one.site and other != one.site):
            yield questions[first:place]
            first, seen = place, {one.name: one.site}
    if questions:
        yield questions[first:]


def _entity(name: str, site: Site) -> Node:
    return {
        "uid": {"type": "Site", "id": name},
        "attrs": msgspec.to_builtins(site),
        "parents": [],
    }


def _names(written: Mapping[str, Node]) -> dict[str, str]:
    """What each policy is called, by Cedar's name for it: its ``@id`` where it has one."""
    names: dict[str, str] = {}
    for id_, one in written.items():
        name = one.get("annotations", {}).get("id") or id_
        if name in names.values():
            raise BadRelease(f"policies.{name}", "is the @id of two policies; give each its own")
        names[id_] = name
    return names


def _check_reads(name: str, conditions: Node) -> None:
    """What a policy sees is the site that it is asked about. Were it to read another one, by name,
    its answer would depend on what is not in the question; and what no site has is a typo.
    """
    for one in _nodes(conditions):
        for operator in (".", "has"):
            inner = one.get(operator)
            if not isinstance(inner, dict) or not isinstance(inner.get("attr"), str):
                continue
            attribute = inner["attr"]
            if inner.get("left") != {"Var": "resource"}:
                words = f"reads {attribute!r} of something other than resource; a policy sees the"
                raise BadRelease(f"policies.{name}", f"{words} site that it is asked about alone")
            if attribute not in Site.__struct_encode_fields__:
                known = ", ".join(Site.__struct_encode_fields__)
                words = f"asks for {attribute!r}; a site has {known}"
                raise BadRelease(f"policies.{name}", words)


def _clause(name: str, one: Node) -> Clause:
    named = list(_entities(one))
    return Clause(
        name=name,
        permits=one["effect"] == "permit",
        rules=_scope(one["principal"]),
        acts=_scope(one["action"]),
        mentions=frozenset(id_ for type_, id_ in named if type_ == "Rule"),
        sites=frozenset(id_ for type_, id_ in named if type_ == "Site"),
        attributes=frozenset(_attributes(one["conditions"])),
        words=frozenset(_words(one["conditions"])),
        hash=hashlib.sha256(json.dumps([name, one], sort_keys=True).encode()).hexdigest(),
    )


def _scope(scope: Node) -> frozenset[str] | None:
    """The ids that a scope is limited to; None: it is not limited to ids."""
    if scope["op"] not in ("==", "in"):
        return None
    entities = [scope["entity"]] if "entity" in scope else scope["entities"]
    return frozenset(one["id"] for one in entities)


def _entities(node: Node) -> Iterator[tuple[str, str]]:
    """Every entity that is named anywhere below: its type and its id."""
    for one in _nodes(node):
        if one.keys() == {"type", "id"} and isinstance(one["id"], str):
            yield str(one["type"]), one["id"]


def _attributes(node: Node) -> Iterator[str]:
    for one in _nodes(node):
        for operator in (".", "has"):
            inner = one.get(operator)
            if isinstance(inner, dict) and isinstance(inner.get("attr"), str):
                yield inner["attr"]


_COMPARISONS: Final = ("==", "!=", "contains", "containsAll", "containsAny")


def _words(node: Node) -> Iterator[tuple[str, str]]:
    for one in _nodes(node):
        for operator in _COMPARISONS:
            inner = one.get(operator)
            if isinstance(inner, dict) and "left" in inner and "right" in inner:
                for a, b in (("left", "right"), ("right", "left")):
                    for attribute in _own_attributes(inner[a]):
                        for word in _literals(inner[b]):
                            yield attribute, word


def _own_attributes(node: Node) -> Iterator[str]:
    inner = node.get(".") if isinstance(node, dict) else None
    if isinstance(inner, dict) and inner.get("left") == {"Var": "resource"}:
        yield inner["attr"]


def _literals(node: Node) -> Iterator[str]:
    if isinstance(node, dict):
        parts = node["Set"] if isinstance(node.get("Set"), list) else [node]
        for one in parts:
            if isinstance(one, dict) and isinstance(one.get("Value"), str):
                yield one["Value"]


def _nodes(node: Node) -> Iterator[dict[str, Node]]:
    """Every dict below, itself included; no recursion, whatever the depth."""
    left = [node]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _first(words: str) -> str:
    """A foreign error's first line that says something, without its end."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return (lines[0] if lines else "not valid").rstrip(".")[:300]
