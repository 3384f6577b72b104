"""A written policy compiled to bitsets: one for each rule, act and moment of change.

The policy engine stays outside: who compiles brings a `Decider`, and the parts of the policy
(`Clause`) as that engine read them. Sites which a rule cannot tell apart are asked about once: two
sites are told apart by the attributes that a clause reads, and by being named.

At a moment of change a rule follows what the policy says then AND what it said at publication: what
narrows holds at once, what widens waits for somebody to publish. 400 days after publication
nothing is allowed any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from selvedge.fabric import (
    ACTS,
    UNKNOWN_COUNTRY,
    Act,
    BadRelease,
    CompiledRule,
    Entity,
    Place,
    Policy,
    Tenant,
    is_country,
)
from selvedge.residency.facts import Facts, gather, hash_policy, read_facts, write_facts
from selvedge.residency.jurisdictions import DAY_US, Jurisdictions, close, day_at, day_us
from selvedge.residency.sites import Site, Sites

HORIZON_US: Final = 400 * DAY_US
EPOCHS_MAX: Final = 64
RULES_MAX: Final = 1024
_OPERATORS: Final = frozenset(
    {"entity", "entityCountry", "parents", "parentCountries", "reach", "transfers", "certificates"}
)
"""Attributes that say something only of a site whose entity is known."""
_COUNTRIES: Final = frozenset({"country", "entityCountry", "parentCountries", "reach"})


class Clause(msgspec.Struct, frozen=True):
    """One policy of the text: whom it concerns, and what it looks at."""

    name: str
    """Its ``@id``, else the engine's name of its place."""
    permits: bool
    rules: frozenset[str] | None
    """The rules that it can concern; None: any."""
    acts: frozenset[str] | None
    """The acts that it can concern; None: any."""
    mentions: frozenset[str]
    """Every rule that it names anywhere."""
    sites: frozenset[str]
    """Every site that it names anywhere."""
    attributes: frozenset[str]
    """Every attribute that it reads."""
    words: frozenset[tuple[str, str]]
    """Texts that an attribute is compared with: the attribute, the text."""
    hash: str
    """Of its canonical form."""

    def concerns(self, rule: str) -> bool:
        """Whether it can have a part in what is decided for this rule."""
        return self.rules is None or rule in self.rules

    @property
    def looks_behind(self) -> bool:
        """Whether it looks at who operates a site, not at where it stands alone."""
        return not self.attributes.isdisjoint(_OPERATORS)

    def permits_act(self, act: str) -> bool:
        """Whether it can permit this act: where no clause can, nobody need be asked."""
        return self.permits and (self.acts is None or act in self.acts)


class Question(msgspec.Struct, frozen=True):
    """May this rule's data be treated so at a site that is seen so?"""

    rule: str
    act: Act
    name: str
    """The site's id: a policy may name it."""
    site: Site


class Answer(msgspec.Struct, frozen=True):
    """What the engine says. ``reasons`` are the names of the clauses that decided."""

    allowed: bool
    reasons: tuple[str, ...] = ()


Decider = Callable[[Sequence[Question]], Sequence[Answer]]


class Written(msgspec.Struct, frozen=True):
    """A policy as it was written, its clauses, and who decides by it."""

    text: str
    clauses: tuple[Clause, ...]
    decide: Decider

    @property
    def rules(self) -> list[str]:
        """Every rule that the text names, in order."""
        return sorted({name for one in self.clauses for name in one.mentions})


class Fleet(msgspec.Struct, frozen=True):
    """What of a release a policy is compiled for."""

    pops: tuple[Place, ...]
    """And providers after them."""
    entities: tuple[Entity, ...]
    tenants: tuple[Tenant, ...]


class Compilation(msgspec.Struct, frozen=True):
    """A compiled policy, and what somebody should hear about it."""

    policy: Policy
    remarks: tuple[str, ...]


class Decisions:
    """Answers that are known: what is compiled again asks only about what was changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Answer] = {}
        self._used: set[tuple[object, ...]] = set()
        self.asked = 0

    def get(self, key: tuple[object, ...]) -> Answer | None:
        """The answer to a question of this closure and kind; None where nobody asked yet."""
        self._used.add(key)
        return self._known.get(key)

    def put(self, key: tuple[object, ...], answer: Answer) -> None:
        """Keep an answer."""
        self.asked += 1
        self._known[key] = answer

    def sweep(self) -> None:
        """Forget what was not asked for since the last time."""
        self._known = {key: one for key, one in self._known.items() if key in self._used}
        self._used = set()


def compile_policy(
    written: Written,
    fleet: Fleet,
    lists: Jurisdictions,
    made_us: int,
    known: Decisions | None = None,
) -> Compilation:
    """Compile a policy for a fleet and a list, at the moment of publication. Raises `BadRelease`
    of a rule that is named wrongly or has no permit.
    """
    rules = written.rules
    _check_rules(written, fleet.tenants, rules)
    for clause in written.clauses:
        _check_words(clause, lists)
    sites = Sites(fleet.pops, fleet.entities, lists)
    seen = [(from_us, sites.on(day_at(max(from_us, 0)))) for from_us in _moments(lists, made_us)]
    facts = gather(sites.names, seen)
    if len(facts.epochs) > EPOCHS_MAX:
        words = f"more than {EPOCHS_MAX} moments of change within 400 days; publish fewer at once"
        raise BadRelease("jurisdictions", words)
    decisions = known if known is not None else Decisions()
    asking = _Asking(written, facts, decisions)
    rows = [row for rule in rules for row in asking.rows(rule, made_us + HORIZON_US)]
    decisions.sweep()
    text = write_facts(facts)
    policy = Policy(
        text=written.text,
        facts=text,
        list_version=lists.version,
        hash=hash_policy(written.text, text, lists.version),
        rules=tuple(rows),
    )
    return Compilation(policy, tuple(_remarks(written, sites, lists, asking.reasons)))


def facts_of(policy: Policy) -> Facts:
    """What a release's policy was asked about. Raises `BadRelease`."""
    return read_facts(policy.facts)


def expected(
    written: Written, facts: Facts, rule: str, site: str, at_us: int
) -> Mapping[str, tuple[Answer, ...]]:
    """What the engine itself says of a rule at a site and a moment, for each act: as it is seen
    then and, after the first moment of change, as it was seen at publication. All must allow it.
    """
    epoch = facts.epoch_at(at_us)
    if epoch is None or site not in facts.sites:
        return {act: (Answer(False),) for act in ACTS}
    place = facts.sites.index(site)
    first = facts.epochs[0]
    views = list(dict.fromkeys((epoch.sites[place], first.sites[place])))
    clauses = [one for one in written.clauses if one.concerns(rule)]
    found: dict[str, tuple[Answer, ...]] = dict.fromkeys(ACTS, ())
    for view in views:
        seen = facts.seen[view]
        if not _is_known(seen, clauses):
            return {act: (Answer(False),) for act in ACTS}
        answers = written.decide([Question(rule, act, site, seen) for act in ACTS])
        for act, answer in zip(ACTS, answers, strict=True):
            found[act] += (answer,)
    return found


class _Asking:
    """One compilation: which sites are alike, and what was answered."""

    def __init__(self, written: Written, facts: Facts, known: Decisions) -> None:
        self._written = written
        self._facts = facts
        self._known = known
        self._masks = [_masks(one.sites) for one in facts.epochs]
        self._places = {name: place for place, name in enumerate(facts.sites)}
        self.reasons: set[str] = set()

    def rows(self, rule: str, until_us: int) -> list[CompiledRule]:
        """The rows of a rule, as far as they differ, and the one that ends it."""
        clauses = [one for one in self._written.clauses if one.concerns(rule)]
        made: list[tuple[int, tuple[int, ...]]] = []
        first: tuple[int, ...] = ()
        for number, epoch in enumerate(self._facts.epochs):
            bits = self._bits(rule, clauses, number)
            first = first or bits
            bits = tuple(one & before for one, before in zip(bits, first, strict=True))
            if not made or made[-1][1] != bits:
                made.append((epoch.from_us, bits))
        if any(made[-1][1]):
            made.append((until_us, (0,) * len(ACTS)))
        return [
            CompiledRule(rule, from_us, *(format(one, "x") for one in bits))
            for from_us, bits in made
        ]

    def _bits(self, rule: str, clauses: list[Clause], number: int) -> tuple[int, ...]:
        """What the policy says of every site in one epoch: a bitset for each act."""
        read = sorted({name for one in clauses for name in one.attributes})
        named = {name for one in clauses for name in one.sites} & self._places.keys()
        epoch = self._facts.epochs[number]
        alike: dict[tuple[object, ...], tuple[int, str, Site]] = {}
        apart = 0
        for name in named:
            place = self._places[name]
            apart |= 1 << place
            seen = self._facts.seen[epoch.sites[place]]
            if _is_known(seen, clauses):
                alike[name, _glance(seen, read)] = (1 << place, name, seen)
        for view, mask in self._masks[number].items():
            mask &= ~apart
            seen = self._facts.seen[view]
            if mask and _is_known(seen, clauses):
                key = (None, _glance(seen, read))
                held = alike.get(key)
                name = self._facts.sites[(mask & -mask).bit_length() - 1]
                alike[key] = (mask, name, seen) if held is None else (mask | held[0], *held[1:])
        return self._ask(rule, clauses, alike)

    def _ask(
        self,
        rule: str,
        clauses: list[Clause],
        alike: Mapping[tuple[object, ...], tuple[int, str, Site]],
    ) -> tuple[int, ...]:
        closure = (rule, *(one.hash for one in clauses))
        bits = dict.fromkeys(ACTS, 0)
        permitted = [act for act in ACTS if any(one.permits_act(act) for one in clauses)]
        open_: list[tuple[tuple[object, ...], int, Question]] = []
        for key, (mask, name, seen) in alike.items():
            for act in permitted:
                asked: tuple[object, ...] = (closure, act, key)
                answer = self._known.get(asked)
                if answer is None:
                    open_.append((asked, mask, Question(rule, act, name, seen)))
                else:
                    self._hear(answer, bits, act, mask)
        answers = self._written.decide([one for _, _, one in open_]) if open_ else ()
        for (kind, mask, question), answer in zip(open_, answers, strict=True):
            self._known.put(kind, answer)
            self._hear(answer, bits, question.act, mask)
        return tuple(bits[act] for act in ACTS)

    def _hear(self, answer: Answer, bits: dict[Act, int], act: Act, mask: int) -> None:
        self.reasons.update(answer.reasons)
        if answer.allowed:
            bits[act] |= mask


def _is_known(seen: Site, clauses: Iterable[Clause]) -> bool:
    """Whether enough is known of a site to ask: else nothing holds there, whatever is asked for.

    What reaches it from nobody knows where is no answer to who may and who may not.
    """
    if seen.country == UNKNOWN_COUNTRY:
        return False
    return UNKNOWN_COUNTRY not in seen.reach or not any(one.looks_behind for one in clauses)


def _masks(sites: tuple[int, ...]) -> dict[int, int]:
    """The bitset of the sites that are seen alike, by how they are seen."""
    places: dict[int, bytearray] = {}
    size = len(sites) // 8 + 1
    for place, view in enumerate(sites):
        held = places.get(view)
        if held is None:
            held = places[view] = bytearray(size)
        held[place >> 3] |= 1 << (place & 7)
    return {view: int.from_bytes(held, "little") for view, held in places.items()}


def _glance(seen: Site, read: Iterable[str]) -> tuple[object, ...]:
    return tuple(getattr(seen, _FIELDS[name]) for name in read if name in _FIELDS)


_FIELDS: Final = {one.encode_name: one.name for one in msgspec.structs.fields(Site)}


def _moments(lists: Jurisdictions, made_us: int) -> list[int]:
    """The last moment of change before publication, and all within 400 days after it."""
    moments = [day_us(day) for day in lists.moments()]
    before = max((one for one in moments if one <= made_us), default=0)
    return [max(before, 0), *(one for one in moments if made_us < one < made_us + HORIZON_US)]


def _check_rules(written: Written, tenants: tuple[Tenant, ...], rules: list[str]) -> None:
    if len(rules) > RULES_MAX:
        raise BadRelease("policies", f"names {len(rules)} rules; {RULES_MAX} is the most")
    permitted = {
        rule for rule in rules if any(one.permits and one.concerns(rule) for one in written.clauses)
    }
    for tenant in tenants:
        for one in tenant.classes:
            if one.policy is None or one.policy in permitted:
                continue
            words = f"rule {one.policy!r} has no permit in the policies: add one"
            if one.policy not in rules:
                words = f"{one.policy!r} is not a rule of the policies{close(one.policy, rules)}"
            raise BadRelease(f"tenants.{tenant.id}.classes.{one.id}.policy", words)


def _check_words(clause: Clause, lists: Jurisdictions) -> None:
    """A text that no site could ever have is a typo; in a forbid it would open what it closes."""
    for attribute, word in sorted(clause.words):
        where = f"policies.{clause.name}"
        if attribute == "groups" and word not in lists.groups:
            words = f"{word!r} is not a group of list {lists.version}{close(word, lists.groups)}"
            raise BadRelease(where, words)
        if attribute in _COUNTRIES and word != UNKNOWN_COUNTRY and not is_country(word):
            near = close(word, lists.groups)
            if word in lists.groups:
                near = f", but a group: ask resource.groups.contains({json.dumps(word)})"
            words = f"{word!r} is not an ISO 3166-1 alpha-2 country code{near}"
            raise BadRelease(where, words)


def _remarks(
    written: Written, sites: Sites, lists: Jurisdictions, reasons: set[str]
) -> Iterable[str]:
    for one in written.clauses:
        if one.name not in reasons:
            what = "permit" if one.permits else "forbid"
            yield f"policies: the {what} {one.name!r} never decides at any site of this fleet"
        offered = {f"{row.regime}/{row.instrument}" for row in lists.transfers}
        for attribute, word in sorted(one.words):
            if attribute == "transfers" and word not in offered:
                yield f"policies: {one.name!r} asks for {word!r}, which no row of the list gives"
        strange = sorted(one.sites - set(sites.names))
        if strange:
            yield f"policies: {one.name!r} names {strange[0]!r}, which is no PoP of this fleet"
    asking = sorted({name for one in written.clauses for name in one.attributes} & _OPERATORS)
    strays = sites.strays
    if asking and strays:
        listed = ", ".join(strays[:5]) + (f" and {len(strays) - 5} more" if strays[5:] else "")
        yield (
            f"pops: {listed}: operated by nobody under entities, while the policies ask for "
            f"{', '.join(asking)}: nothing holds there; add who operates it"
        )
