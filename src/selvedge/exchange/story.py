"""The story of one request, told once, top to bottom.

`serve` is a generator that yields commands and receives replies; it does no I/O, reads no clock
and never sees a token. Whoever runs it (the PoP, the simulator, a test) interprets the commands.
One path leads through all endings: every authenticated request reaches `Record` exactly once,
whether it was served, refused, failed or left by its client.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeAlias

import msgspec

from selvedge.cache import Candidate
from selvedge.exchange import repeats
from selvedge.exchange.case import Case
from selvedge.exchange.choosing import narrow
from selvedge.exchange.commands import (
    BodyRead,
    BodyRefused,
    ClientLeft,
    Command,
    Deliver,
    Drop,
    Ended,
    Ending,
    Failed,
    Gone,
    Intend,
    Job,
    NotWritten,
    ReadBody,
    Recall,
    Record,
    Refuse,
    Relay,
    Relayed,
    Remember,
    Reply,
    Reuse,
    Tally,
)
from selvedge.exchange.drafts import open_receipt, with_ask, with_rule
from selvedge.exchange.keeping import may_keep, read_ask
from selvedge.exchange.planning import plan_of
from selvedge.exchange.quota import Taken, spent, take
from selvedge.exchange.recalling import (
    found_in,
    given_again,
    is_kept,
    recall_of,
    why_no_engine,
)
from selvedge.exchange.references import keep_of, resumed
from selvedge.exchange.view import FleetView, prefix_scope
from selvedge.fabric import (
    Ask,
    Head,
    Outcome,
    Personal,
    Receipt,
    Refused,
    Tried,
    TriedOutcome,
)
from selvedge.ledger import Admitted, Level
from selvedge.routing import Attempt, Plan
from selvedge.wire import ImageUrls, is_callers_fault

Story: TypeAlias = Generator[Command, Reply, Ending]

RETRY_AFTER_MS: Final = 1000
_ELSEWHERE: Final = frozenset({"unsupported_field", "unsupported_route"})
"""An engine cannot be told all that was asked: its client's fault only where no other can."""
_OVER: Final = frozenset({"deadline_exceeded", "shutting_down"})
"""Not the engine's failures: no other one could do better."""
_AS_IT_IS: Final = _OVER | {"rate_limit_exceeded"}
"""Told as they are: the limit is the client's own, at the provider to which its key is passed."""
_ENDED: Final = (Relayed, Failed, Gone)
_FINISH_REASONS: Final = frozenset(
    {None, "stop", "length", "tool_calls", "content_filter", "function_call"}
)


def serve(
    head: Head, view: FleetView, body_bytes_max: int, *, image_urls: ImageUrls = "data-only"
) -> Story:
    """One request of a client, from its head to its receipt."""
    admitted = view.keyring.admit(head.authorization, head.received_us)
    if isinstance(admitted, Refused):
        yield Tally(admitted.code)
        return Refuse(admitted, receipt=False)
    draft = open_receipt(head, view, admitted)
    levels = admitted.levels
    barred = head.fault or admitted.bars(head.path) or spent(view, admitted, head.received_us)
    if barred is not None:
        return (yield from _refuse_entry(head, draft, barred, view, levels))

    here, zones = view.here.id, admitted.zones
    allowed = view.rules.allowed(
        admitted.tenant, admitted.data_class, here, head.received_us, zones
    )
    if isinstance(allowed, Refused):
        return (yield from _refuse_entry(head, draft, allowed, view))
    draft = with_rule(draft, allowed)

    arrived = yield ReadBody(body_bytes_max, keep_of(head, view, admitted, allowed))
    if isinstance(arrived, BodyRead) and arrived.refers is not None:
        arrived = yield from resumed(arrived, view, admitted, allowed)
    if not isinstance(arrived, BodyRead):
        return (yield from _unread(head, draft, arrived))
    keeps = may_keep(view, allowed, allowed.rule.handling)
    ask = read_ask(head, arrived, view, admitted.tenant, image_urls, keeps=keeps)
    if isinstance(ask, Refused):
        return (yield from _refuse(head, draft, ask, arrived.at_us))
    draft = with_ask(draft, ask, view)
    if ask.prefers is not None:
        narrowed = narrow(view, allowed, ask.prefers)
        if isinstance(narrowed, Refused):
            return (yield from _refuse(head, draft, narrowed, arrived.at_us, ask))
        allowed, keeps = narrowed, keeps and may_keep(view, narrowed, narrowed.rule.handling)
    barred = admitted.bars_model(ask.model)
    if barred is not None:
        return (yield from _refuse(head, draft, barred, arrived.at_us, ask))

    again = yield from _again(head, draft, ask, admitted, arrived, keeps=keeps)
    if again is not None:
        return again

    taken = take(view, admitted, ask, arrived.at_us)
    if isinstance(taken, Refused):
        return (yield from _refuse(head, draft, taken, arrived.at_us, ask, levels=levels))
    case = Case(head, ask, arrived, admitted, allowed, taken, keeps)
    try:
        return (yield from _answer_case(case, draft, view))
    finally:
        if taken is not None:
            taken.break_off()


def _answer_case(case: Case, draft: Receipt, view: FleetView) -> Story:
    """From the cache, else from an engine; with its receipt."""
    head, ask, taken = case.head, case.ask, case.taken
    recall = recall_of(case, view)
    if isinstance(recall, Refused):
        return (yield from _refuse(head, draft, recall, case.arrived.at_us, ask, taken=taken))
    at_us = case.arrived.at_us
    if recall is not None:
        draft = msgspec.structs.replace(draft, cache="miss")
    if recall is not None or head.cache is not None:
        early = yield from _recalled(case, draft, view, recall)
        if not isinstance(early, int):
            return early
        at_us = early

    admitted = case.admitted
    plan = plan_of(head, ask, view, case.allowed, admitted=admitted, at_us=at_us)
    if isinstance(plan, Refused):
        return (yield from _refuse(head, draft, plan, at_us, ask, taken=taken))
    draft = msgspec.structs.replace(
        draft,
        planned=tuple(one.pop for one in plan.attempts),
        planned_in=tuple(one.country for one in plan.attempts),
    )

    intended = yield Intend(draft, _personal(head, ask))
    if isinstance(intended, NotWritten):
        refused = _unwritable(intended)
        return (yield from _refuse(head, draft, refused, intended.at_us, ask, taken=taken))

    ended, tried = yield from relay_in_turn(plan, job_of(case))
    if recall is not None and isinstance(ended, Relayed) and is_kept(recall, ask, ended):
        yield Remember(recall)
    return (yield from settle_case(draft, case, ended, tried))


def _recalled(
    case: Case, draft: Receipt, view: FleetView, recall: Recall | None
) -> Generator[Command, Reply, Ending | int]:
    """The ending where the cache has the answer, or nothing else will do; else its moment.

    No intent goes before a hit: nothing leaves the PoP for it, and its client is given nothing
    before its receipt is written.
    """
    head, ask, taken = case.head, case.ask, case.taken
    at_us = case.arrived.at_us
    if recall is not None:
        told = yield recall
        at_us = told.at_us
        found = found_in(told, recall, case, view)
        if found is not None:
            return (yield from _give_again(case, draft, found, at_us))
        if isinstance(told, ClientLeft):
            return (yield from _left(head, draft, at_us, ask, taken))
    refused = why_no_engine(head, at_us)
    if refused is not None:
        return (yield from _refuse(head, draft, refused, at_us, ask, taken=taken))
    return at_us


def _give_again(case: Case, draft: Receipt, found: Candidate, at_us: int) -> Story:
    """A kept answer, with the receipt that says so: no engine is asked, and nothing is used."""
    receipt = given_again(draft, found, at_us)
    if case.taken is not None:
        case.taken.settle(receipt)
    recorded = yield Record(receipt, _personal(case.head, case.ask))
    if isinstance(recorded, NotWritten):
        return Refuse(_unwritable(recorded), receipt=False)
    rule, levels = case.allowed.rule, case.admitted.levels
    return Reuse(found, found.age_s(at_us), levels, rule.policy, rule.handling)


def relay_in_turn(
    plan: Plan, job: Job
) -> Generator[Command, Reply, tuple[Ended, tuple[Tried, ...]]]:
    """Try the plan's attempts in order until one answers, the client leaves, or none is left.

    A failure moves on unseen only while the client has nothing of the answer and another engine
    could do better. (A broken answer will be continued elsewhere from here, where the model's
    settings permit it; until then it ends in-band.)
    """
    tried: tuple[Tried, ...] = ()
    left = list(plan.attempts)
    failed: Failed | None = None
    while True:
        attempt = left.pop(0)
        reply = yield Relay((attempt,), job)
        ended = _answer(reply)
        tried += (_tried(attempt, ended),)
        if not isinstance(ended, Failed) or not _worth_another(ended):
            return ended, tried
        if failed is None or ended.refused.code not in _ELSEWHERE:
            failed = ended
        if not left:
            return msgspec.structs.replace(failed, at_us=ended.at_us), tried


def _answer(reply: Reply) -> Ended:
    if not isinstance(reply, _ENDED):
        raise TypeError(f"{type(reply).__name__} is not an answer to Relay")
    return reply


def _worth_another(failed: Failed) -> bool:
    return (
        failed.tokens == 0
        and (not is_callers_fault(failed.refused) or failed.refused.code in _ELSEWHERE)
        and failed.refused.code not in _OVER
    )


def settle_case(draft: Receipt, case: Case, ended: Ended, tried: tuple[Tried, ...]) -> Story:
    """The one path from the last attempt to the receipt and the ending."""
    head, ask = case.head, case.ask
    receipt = _with_end(draft, ended, tried)
    match ended:
        case Relayed():
            ending: Ending = Deliver()
            receipt = msgspec.structs.replace(
                receipt,
                outcome=Outcome.COMPLETE,
                status=200,
                finish_reason=_known(ended.finish_reason),
            )
        case Gone():
            ending = Drop()
            begun = ended.begun or (ended.first_token_us is not None and ask.stream)
            seen = 200 if begun else 0
            receipt = msgspec.structs.replace(receipt, outcome=Outcome.CLIENT_GONE, status=seen)
        case _:
            refused = _final_refusal(ended)
            ending = Refuse(refused)
            callers = is_callers_fault(refused)
            receipt = msgspec.structs.replace(
                receipt,
                outcome=Outcome.REFUSED if callers else Outcome.FAILED,
                status=200 if ended.tokens or ended.begun else refused.kind.status,
                code=refused.code,
            )
    if case.taken is not None:
        case.taken.settle(receipt)
    recorded = yield Record(receipt, _personal(head, ask))
    if isinstance(recorded, NotWritten):
        return _unrecorded(ended, recorded)
    return ending


def _unrecorded(ended: Ended, recorded: NotWritten) -> Ending:
    """Without a receipt nothing is acknowledged: the answer's end is not sent."""
    if isinstance(ended, Gone) or ended.tokens:
        return Drop()
    return Refuse(_unwritable(recorded), receipt=False)


def _final_refusal(failed: Failed) -> Refused:
    refused = failed.refused
    if failed.tokens or is_callers_fault(refused) or refused.code in _AS_IT_IS:
        return refused
    return Refused(
        "no_engine_available",
        f"No engine that may process this request answered; the last one: {refused.message}",
        retry_after_ms=refused.retry_after_ms or RETRY_AFTER_MS,
    )


def _refuse(
    head: Head,
    draft: Receipt,
    refused: Refused,
    at_us: int,
    ask: Ask | None = None,
    *,
    taken: Taken | None = None,
    levels: tuple[Level, ...] = (),
) -> Story:
    """Refuse an authenticated request before anything left the PoP: receipt, then words.

    What it had ``taken`` is given back; ``levels`` are told where one of them refused.
    """
    ours = refused.kind.fault not in ("caller", "policy")
    receipt = msgspec.structs.replace(
        draft,
        outcome=Outcome.FAILED if ours else Outcome.REFUSED,
        status=refused.kind.status,
        code=refused.code,
        rule=refused.rule or draft.rule,
        ended_us=at_us,
    )
    if taken is not None:
        taken.settle(receipt)
    recorded = yield Record(receipt, _personal(head, ask))
    if isinstance(recorded, NotWritten):
        return Refuse(_unwritable(recorded), receipt=False)
    return Refuse(refused, levels=_shown_levels(refused, levels))


def _refuse_entry(
    head: Head,
    draft: Receipt,
    refused: Refused,
    view: FleetView,
    levels: tuple[Level, ...] = (),
) -> Story:
    """Refuse at the door. Where a policy lets this PoP keep no receipts of the class it is counted,
    as a request of nobody is.
    """
    rules, at_us = view.rules, head.received_us
    rule = rules.rule(draft.tenant, draft.data_class, at_us)
    if rule is not None and rule.policy_rule is not None:
        row = rules.row(rule.policy_rule, at_us)
        if not rules.holds(row.receipts & row.keys & row.log, view.here.id):
            yield Tally(refused.code)
            return Refuse(refused, receipt=False, levels=_shown_levels(refused, levels))
    return (yield from _refuse(head, draft, refused, at_us, levels=levels))


def _shown_levels(refused: Refused, levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """The levels that an answer tells of: where one of them refused."""
    return levels if refused.kind.status == 429 else ()


def _again(
    head: Head, draft: Receipt, ask: Ask, admitted: Admitted, arrived: BodyRead, *, keeps: bool
) -> Generator[Command, Reply, Ending | None]:
    """The ending of a request whose `Idempotency-Key` stands for one already, with its receipt."""
    if head.idempotency_key is None:
        return None
    written = arrived.written or arrived.body
    claimed = yield repeats.claim(head, admitted, written, draft, keeps=keeps)
    draft = msgspec.structs.replace(draft, repeats=repeats.read(claimed).first)
    barred = repeats.why_not(claimed)
    if barred is not None:
        return (yield from _refuse(head, draft, barred, claimed.at_us, ask))
    again = repeats.replayed(claimed, draft)
    if again is None:
        return None
    recorded = yield Record(again[0], _personal(head, ask))
    if isinstance(recorded, NotWritten):
        return Refuse(_unwritable(recorded), receipt=False)
    return again[1]


def _unread(head: Head, draft: Receipt, arrived: Reply) -> Story:
    """The ending of a request whose body did not come whole."""
    if isinstance(arrived, BodyRefused):
        return (yield from _refuse(head, draft, arrived.refused, arrived.at_us))
    return (yield from _left(head, draft, arrived.at_us))


def _left(
    head: Head, draft: Receipt, at_us: int, ask: Ask | None = None, taken: Taken | None = None
) -> Story:
    receipt = msgspec.structs.replace(draft, outcome=Outcome.CLIENT_GONE, ended_us=at_us)
    if taken is not None:
        taken.settle(receipt)
    yield Record(receipt, _personal(head, ask))
    return Drop()


def _unwritable(reply: NotWritten) -> Refused:
    return Refused(
        "receipt_unwritable",
        f"The request cannot be written down ({reply.reason}), so it is not served; retry.",
        retry_after_ms=RETRY_AFTER_MS,
    )


def _with_end(draft: Receipt, ended: Ended, tried: tuple[Tried, ...]) -> Receipt:
    served = ended.served
    return msgspec.structs.replace(
        draft,
        attempts=tried,
        served_pop=served.pop if served else None,
        served_engine=served.engine if served else None,
        served_entity=served.entity if served else None,
        processed_in=served.country if served else None,
        model_digest=served.model_digest if served else draft.model_digest,
        usage=ended.usage,
        attested=ended.attested,
        first_token_us=ended.first_token_us,
        ended_us=ended.at_us,
    )


def _known(finish_reason: str | None) -> str | None:
    """OpenAI's reasons; an engine's own word never reaches a receipt."""
    return finish_reason if finish_reason in _FINISH_REASONS else "other"


def _tried(attempt: Attempt, ended: Ended) -> Tried:
    outcome: TriedOutcome = "relayed"
    reason = attempt.reason
    if isinstance(ended, Gone):
        outcome = "gone"
    elif isinstance(ended, Failed):
        reason = ended.refused.code
        outcome = "rejected" if is_callers_fault(ended.refused) else "failed"
        outcome = "deadline" if reason == "deadline_exceeded" else outcome
    engine = ended.served.engine if ended.served else attempt.engine
    return Tried(
        pop=attempt.pop,
        country=attempt.country,
        engine=engine,
        outcome=outcome,
        reason=reason,
        tokens=ended.tokens,
        started_us=ended.started_us,
        ended_us=ended.at_us,
    )


def _personal(head: Head, ask: Ask | None) -> Personal:
    return Personal(head.client_ip, ask.end_user if ask else None, head.client_request_id)


def job_of(case: Case) -> Job:
    """What a relay needs of a request."""
    admitted, rule = case.admitted, case.allowed.rule
    return Job(
        case.head,
        case.ask,
        case.arrived.body,
        admitted.tenant,
        admitted.data_class,
        rule.name,
        rule.pops,
        levels=admitted.levels,
        policy=rule.policy,
        handling=rule.handling,
        zones=rule.narrowed,
        passes_to=admitted.passes_to,
        scope=prefix_scope(rule) if case.keeps else "",
    )
