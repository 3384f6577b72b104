"""What the cache process decides: is there an answer, what was learned, what becomes an entry.

A look-up: embed the text, take the nearest entries of its bucket, pass over those that the gates
turn away, and let the route's decider say. A look-up that is not served leaves a note; when the
engine's answer is handed over, the judge compares it with what the nearest entry would have said,
and the decider learns. So every miss with a neighbour is an observation and costs nobody an engine.

**Audits.** One in ``audit_one_in`` of the hits, drawn at random, is not served: its request goes on
to the engine like a miss, and the comparison is the audit. When audits say that too many hits are
wrong, the route's similar answers stop (`Audit.broken`).

**Poisoning.** Who holds one key of a tenant may ask what he likes, and what he asks becomes an
entry beside the questions of others. So an entry answers only its own author's key, until somebody
else's request came to it, was answered by an engine, and that answer was judged the same: then it
is trusted, by all keys of the tenant. Judged different, it stays its author's. What an operator
warms is trusted. Identical requests need none of this: the whole request is the key.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from msgspec import structs

from selvedge.adapters.answer_store import AnswerStore, entry_id, raw_id
from selvedge.adapters.answer_store_records import KeptAnswer, Question
from selvedge.adapters.cache_process_engine import Asks
from selvedge.adapters.cache_process_judges import Compared, Judges
from selvedge.adapters.cache_process_routes import Route, Routes
from selvedge.adapters.cache_process_scopes import Scopes
from selvedge.adapters.embedder import EmbedQueue
from selvedge.adapters.vector_file import CLUSTER_BYTES
from selvedge.adapters.vector_scope import Near
from selvedge.cache import (
    Asked,
    Pair,
    Scope,
    Slots,
    Verdict,
    also_compared,
    clash,
    content_words,
    decider_of,
    pair_of,
    slots_of,
)
from selvedge.fabric import JUDGES, CacheRule
from selvedge.fabric.value import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEAREST: Final = 32
GATED_MAX: Final = 8
"""Entries that the gates may turn away before the look-up ends."""
NOTES_MAX: Final = 8192
SERVED_MAX: Final = 8192
NOTE_KEPT_US: Final = 300_000_000
UNAUDITED_MAX: Final = 5
"""So many audits of a route in a row without a judgement, and each further hit is one."""


_T = TypeVar("_T")


class Lookup(Value, frozen=True):
    """One request, as the cache is asked about it."""

    scope: Scope
    rule: CacheRule
    asked: Asked
    now_us: int
    key: str = ""
    """The id of the API key that asks."""
    slots: Slots | None = None
    """The text as the gates read it, where that is done: it takes as long as the search."""
    through: Asks | None = None
    """Of an answer: the worker that handed it over."""


class Tools(Value, frozen=True):
    """What a desk decides with."""

    store: AnswerStore
    scopes: Scopes
    routes: Routes
    judges: Judges
    embedded: EmbedQueue | None


class Hit(Value, frozen=True):
    """An entry to serve."""

    entry: str
    similarity: float
    bound: float
    why: str


class Chosen(Value, frozen=True):
    """The nearest entry that the gates let through."""

    near: Near
    question: Question
    pair: Pair


class Looked(Value, frozen=True):
    """What a look-up saw; ``passed`` says of each entry before the chosen one why it was not."""

    chosen: Chosen | None
    passed: tuple[tuple[str, float, str], ...] = ()
    gone: tuple[bytes, ...] = ()
    near: tuple[Near, ...] = ()


class Note(Value, frozen=True):
    """A look-up that was not served, until the engine has answered."""

    near: Near
    question: Question
    pair: Pair
    at_us: int
    is_audit: bool
    is_foreign: bool
    """Somebody else's request: if it is judged right, the entry is trusted."""


class Insert(Value, frozen=True):
    """What a kept answer becomes: an entry with a question, or (None) for its own request alone."""

    question: Question | None
    trust: tuple[bytes, Question] | None = None
    """An entry that has become trusted, and its question."""


class DeskCounts:
    """Since the process began."""

    def __init__(self) -> None:
        self.recalls = 0
        self.hits = 0
        self.audits = 0
        self.gated = 0
        self.foreign = 0
        """Look-ups that would have been served, but for another key's unjudged entry."""
        self.declined = 0
        self.alone = 0
        """Look-ups whose bucket had no live entry."""
        self.unloaded = 0
        self.unembedded = 0
        self.shut = 0
        self.judged_right = 0
        self.judged_wrong = 0
        self.reports = 0


class Desk:
    """The decisions of one process, on its loop's thread."""

    def __init__(self, tools: Tools, draw: Callable[[], float]) -> None:
        self.counts = DeskCounts()
        self._store = tools.store
        self._scopes = tools.scopes
        self._routes = tools.routes
        self._judges = tools.judges
        self._embedded = tools.embedded
        self._draw = draw
        self._notes: OrderedDict[bytes, Note] = OrderedDict()
        self._others: OrderedDict[bytes, tuple[Near, ...]] = OrderedDict()
        self._served: OrderedDict[bytes, tuple[Pair, Route, str]] = OrderedDict()

    def recall(self, lookup: Lookup, tell: Callable[[Hit | None, str], None]) -> None:
        """Look, and ``tell`` once: what to serve, or why nothing."""
        rule, asked = lookup.rule, lookup.asked
        self.counts.recalls += 1
        tag = self._store.keys.tag(lookup.scope)
        if self._embedded is None or not asked.bucket or rule.semantic is None:
            tell(None, "similar questions are not looked for")
            return
        if self._store.keys.by_tag(tag) is None:
            self.counts.alone += 1
            tell(None, "nothing is kept in this scope")
            return
        route = self._routes.of(tag, asked.model, rule)
        if route.audit.broken is not None:
            self.counts.shut += 1
            tell(None, route.audit.broken)
            return
        if self._scopes.get(tag) is None:
            self.counts.unloaded += 1
            tell(None, "the scope is being loaded")
            return

        read: list[Slots] = []

        def got(vector: NDArray[np.float32] | None) -> None:
            if vector is None:
                self.counts.unembedded += 1
                tell(None, "the text could not be embedded")
                return
            known = structs.replace(lookup, slots=read[0]) if read else lookup
            tell(*self.decide(tag, known, route, vector))

        self._embedded.ask(asked.text, got, tag)
        # While a thread embeds the text, the gates read it.
        read.append(slots_of(asked.text))

    def look(self, tag: bytes, lookup: Lookup, vector: NDArray[np.float32]) -> Looked:
        """The nearest entries, and the first that the gates let through. Changes nothing."""
        asked, now_us = lookup.asked, lookup.now_us
        scope = self._scopes.loaded(tag)
        near = [] if scope is None else scope.search(asked.bucket, vector, NEAREST)
        slots = lookup.slots or slots_of(asked.text)
        said: dict[bytes, str | None] = {}
        gone: list[bytes] = []
        passed: list[tuple[str, float, str]] = []
        for one in list(near):
            question = self._store.question(tag, one.entry, now_us)
            if question is None:
                gone.append(one.entry)
                near.remove(one)
                continue
            if question.slots not in said:  # Many entries have the same words.
                said[question.slots] = _clash(slots, question)
            why = said[question.slots]
            if why is None:
                at = near.index(one)
                pair = pair_of(
                    [(each.similarity, each.cluster.hex()) for each in near],
                    at,
                    asked.text,
                    content_words(question.text),
                )
                return Looked(Chosen(one, question, pair), tuple(passed), tuple(gone), tuple(near))
            passed.append((entry_id(one.entry), one.similarity, why))
            if len(passed) >= GATED_MAX:
                break
        return Looked(None, tuple(passed), tuple(gone), tuple(near))

    def decide(
        self, tag: bytes, lookup: Lookup, route: Route, vector: NDArray[np.float32]
    ) -> tuple[Hit | None, str]:
        """What is said to a look-up whose text is embedded, and what it leaves to be learned."""
        rule, asked, now_us, key = lookup.rule, lookup.asked, lookup.now_us, lookup.key
        counts = self.counts
        looked = self.look(tag, lookup, vector)
        if looked.gone:
            self._scopes.drop(tag, list(looked.gone))
        if looked.chosen is None:
            self._compare_later(tag + asked.exact, looked, -1)
            counts.gated += bool(looked.passed)
            counts.alone += not looked.passed
            return None, looked.passed[0][2] if looked.passed else "nothing similar is kept"
        one, question, pair = looked.chosen.near, looked.chosen.question, looked.chosen.pair
        cluster = one.cluster.hex()
        entry = entry_id(one.entry)
        verdict = route.decider.decide(pair, entry, cluster, self._draw())
        is_foreign = not question.trusted and question.by != key
        is_drawn = self._draw() * rule.audit_one_in < 1.0
        is_audit = verdict.serve and (is_drawn or route.unaudited >= UNAUDITED_MAX)
        if verdict.serve and not is_foreign and not is_audit:
            counts.hits += 1
            _put(self._served, tag + one.entry, (pair, route, cluster), SERVED_MAX)
            return Hit(entry, pair.similarity, verdict.bound, verdict.why), verdict.why
        self._compare_later(tag + asked.exact, looked, looked.near.index(one))
        note = Note(one, question, pair, now_us, is_audit and not is_foreign, is_foreign)
        _put(self._notes, tag + asked.exact, note, NOTES_MAX)
        if not verdict.serve:
            counts.declined += 1
            return None, verdict.why
        if is_foreign:
            counts.foreign += 1
            return None, "another key's entry, not judged yet"
        counts.audits += 1
        return None, "drawn for an audit"

    async def judged(self, lookup: Lookup, kept: KeptAnswer) -> Insert:
        """What a kept answer becomes; learns from it where a note says what it compares with."""
        rule, asked, key = lookup.rule, lookup.asked, lookup.key
        tag = self._store.keys.tag(lookup.scope)
        if rule.semantic is None or not asked.bucket or self._embedded is None:
            return Insert(None)
        note = self._notes.pop(tag + asked.exact, None)
        if note is not None and kept.made_us - note.at_us > NOTE_KEPT_US:
            note = None
        cluster, correct, trust = os.urandom(CLUSTER_BYTES), None, None
        if note is not None:
            correct = await self._judge(tag, lookup, kept, note)
        others = self._others.pop(tag + asked.exact, ())
        if not correct and rule.judge in JUDGES:  # an engine is asked once
            cluster = await self._shared(tag, lookup, kept, others) or cluster
        if note is not None and correct:
            cluster = note.near.cluster
            if note.is_foreign:
                trust = (note.near.entry, structs.replace(note.question, trusted=True))
        route = self._routes.of(tag, asked.model, rule)
        if note is not None and correct is not None and not route.decider.inserts(correct):
            return Insert(None, trust)
        slots = msgspec.msgpack.encode(slots_of(asked.text))
        return Insert(Question(asked.text, asked.bucket, slots, cluster, key), trust)

    def _compare_later(self, place: bytes, looked: Looked, chosen: int) -> None:
        """Notes whose answers the new one is compared with where it is not the chosen one's."""
        ranked = [(each.similarity, each.cluster.hex()) for each in looked.near]
        others = tuple(looked.near[number] for number in also_compared(ranked, chosen))
        _put(self._others, place, others, NOTES_MAX)

    async def _shared(
        self, tag: bytes, lookup: Lookup, kept: KeptAnswer, others: tuple[Near, ...]
    ) -> bytes | None:
        """The first of their clusters whose answer says the same; None: none."""
        for other in others:
            before = self._store.answer(tag, other.entry, kept.made_us)
            if before is None:
                continue
            if await self._judges.same(lookup.rule, Compared(lookup.asked.text, before, kept)):
                return other.cluster
        return None

    async def _judge(self, tag: bytes, lookup: Lookup, kept: KeptAnswer, note: Note) -> bool | None:
        rule, asked = lookup.rule, lookup.asked
        before = self._store.answer(tag, note.near.entry, kept.made_us)
        if before is None:
            return None
        entry = entry_id(note.near.entry)
        pair = Compared(asked.text, before, kept, note.question.text, entry, tag, lookup.through)
        correct = await self._judges.same(rule, pair)
        route = self._routes.of(tag, asked.model, rule)
        if correct is None:
            route.unaudited += note.is_audit
            return None
        self.counts.judged_right += correct
        self.counts.judged_wrong += not correct
        route.unaudited = 0
        route.learn(note.pair, entry, note.near.cluster.hex(), correct)
        if note.is_audit:
            route.take_audit(correct)
        return correct

    def report(self, tenant: str, entry: str, now_us: int) -> str:
        """A tenant's word that an entry was wrong: it is learned, and nothing similar finds it any
        more; the caller purges it. "", or why it cannot be.
        """
        raw = raw_id(entry)
        tags = self._store.keys.of_tenant(tenant)
        tag = next((t for t in tags if raw and self._store.answer(t, raw, now_us)), None)
        if raw is None or tag is None:
            return f"entry {entry} is not kept for this tenant at this PoP"
        served = self._served.pop(tag + raw, None)
        if served is not None:
            pair, route, cluster = served
            route.learn(pair, entry, cluster, correct=False)
        self.counts.reports += 1
        self._scopes.drop(tag, [raw])
        return ""

    async def explain(self, lookup: Lookup) -> dict[str, object]:
        """What a look-up would see and say."""
        scope, rule, asked, now_us = lookup.scope, lookup.rule, lookup.asked, lookup.now_us
        tag = self._store.keys.tag(scope)
        exact = self._store.get(scope, asked.exact, now_us)
        told: dict[str, object] = {
            "identical": None if exact is None else exact.id,
            "text": asked.text,
            "semantic": rule.semantic,
        }
        if rule.semantic is None or not asked.bucket or self._embedded is None:
            return {**told, "why": "similar questions are not looked for"}
        scope_in = self._scopes.get(tag)
        vector = await self._embedded.vector(asked.text, tag)
        if scope_in is None or vector is None:
            return {**told, "why": "not embedded" if vector is None else "being loaded; ask again"}
        looked = self.look(tag, lookup, vector)
        told["gates"] = [
            {"entry": entry, "similarity": round(similarity, 4), "why": why}
            for entry, similarity, why in looked.passed
        ]
        told["near"] = len(looked.near)
        if looked.chosen is None:
            none = "none near, of requests that are equal but for the last message (--body FILE)"
            return {**told, "why": "the gates let none through" if looked.passed else none}
        chosen = looked.chosen
        route = self._routes.of(tag, asked.model, rule)
        verdict = self._verdict(route, chosen)
        is_foreign = not chosen.question.trusted and chosen.question.by != lookup.key
        return {
            **told,
            "entry": entry_id(chosen.near.entry),
            "question": chosen.question.text,
            "pair": structs.asdict(chosen.pair),
            "serve": verdict.serve and not is_foreign and route.audit.broken is None,
            "bound": verdict.bound,
            "why": route.audit.broken
            or ("another key's entry, not judged yet" if is_foreign else verdict.why),
        }

    def _verdict(self, route: Route, chosen: Chosen) -> Verdict:
        """Of a copy: who explains teaches nothing."""
        copy = decider_of(route.rule, route.decider.dump(), None)
        entry = entry_id(chosen.near.entry)
        return copy.decide(chosen.pair, entry, chosen.near.cluster.hex(), 0.5)


def _clash(new: Slots, question: Question) -> str | None:
    try:
        kept = msgspec.msgpack.decode(question.slots, type=Slots)
    except msgspec.MsgspecError:
        # Of another version of the gates: read again, from the text.
        kept = slots_of(question.text)
    return clash(new, kept)


def _put(held: OrderedDict[bytes, _T], key: bytes, value: _T, most: int) -> None:
    held[key] = value
    held.move_to_end(key)
    if len(held) > most:
        held.popitem(last=False)
