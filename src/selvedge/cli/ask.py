"""``selvedge ask``: a question through a PoP, the answer as it streams, then path and receipt."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec
import uvloop
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import find_receipt, journal_of, journals_of
from selvedge.cli.client import Answer, Question, ask_once
from selvedge.cli.home_option import home_option, json_option
from selvedge.cli.tables import console
from selvedge.cli.terminal import printable
from selvedge.control import Home, Running
from selvedge.fabric import Receipt, SelvedgeError


@click.command()
@click.argument("prompt")
@click.option("--via", default=None, help="PoP to enter at (default: one without engines).")
@click.option(
    "--tenant", "--key", default=None, help="Key to ask with, by id (default: the first)."
)
@click.option("--model", default=None, help="Model (default: the first chat model offered).")
@click.option("--max-tokens", default=120, show_default=True, help="Longest answer, in tokens.")
@click.option("--explain", is_flag=True, help="Say of each attempt why it was chosen.")
@home_option
@json_option
def ask(
    *,
    prompt: str,
    via: str | None,
    tenant: str | None,
    model: str | None,
    max_tokens: int,
    explain: bool,
    home: Path,
    as_json: bool,
) -> None:
    """Ask a running fabric; shows the answer, its path and its receipt."""
    files = Home(home)
    wish = Wish(prompt, tenant, via, model, max_tokens)
    question = make_question(files, files.running(), wish)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        asking = ask_and_show(files, question, as_json=as_json, explain=explain)
        failed = runner.run(asking)
    if failed:
        sys.exit(1)


class Wish(msgspec.Struct, frozen=True):
    """What the user typed: a prompt, the key's id, and what they left to us."""

    prompt: str
    tenant: str | None = None
    via: str | None = None
    model: str | None = None
    max_tokens: int = 120


def make_question(home: Home, running: Running, wish: Wish) -> Question:
    """What to ask of which PoP, with which key. Raises `SelvedgeError` for unknown names."""
    without = [pop_id for pop_id, pop in running.pops.items() if not pop.engines]
    entry = wish.via or (without or list(running.pops))[0]
    if entry not in running.pops:
        raise SelvedgeError(f"no PoP {entry!r} runs; there are {', '.join(running.pops)}")
    key_id = wish.tenant or running.keys[0]
    if key_id not in running.keys:
        raise SelvedgeError(f"no key {key_id!r}; there are {', '.join(running.keys)}")
    url, key = running.pops[entry].url, home.keys()[key_id]
    model = wish.model or running.chat_model
    return Question(url, entry, key, wish.prompt, model, wish.max_tokens)


async def ask_and_show(
    home: Home, question: Question, *, as_json: bool, explain: bool = False
) -> bool:
    """Ask, print, and say whether it failed."""

    def show(text: str) -> None:
        if not as_json:
            click.echo(printable(text), nl=False)

    answer = await ask_once(question, show)
    # Written before the answer's end was sent: it is there.
    receipt = _receipt(home.pop(question.via), answer.receipt_id) if answer.receipt_id else None
    if as_json:
        _print_json(answer, receipt)
    else:
        _print(question, answer, receipt, explain=explain)
    return answer.error is not None


def _print_json(answer: Answer, receipt: Receipt | None) -> None:
    click.echo(msgspec.json.encode({"answer": answer, "receipt": receipt}))


def _print(question: Question, answer: Answer, receipt: Receipt | None, *, explain: bool) -> None:
    out = console()
    out.print()
    if answer.error is not None:
        out.print(f"[red]{answer.status}[/red] {answer.code}: ", end="")
        out.print(printable(answer.error), markup=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _path(question, answer, receipt):
        table.add_row(f"[dim]{name}[/dim]", value)
    if explain and receipt is not None:
        for name, value in _why(receipt):
            table.add_row(f"[dim]{name}[/dim]", escape(value))
    out.print(table)


def _why(receipt: Receipt) -> list[tuple[str, str]]:
    """The plan, and what was made of each attempt: the prediction of one that answered."""
    plan = zip(receipt.planned, receipt.planned_in, strict=True)
    rows = [("plan", ", then ".join(f"{pop} ({country})" for pop, country in plan) or "none")]
    for number, one in enumerate(receipt.attempts, 1):
        took_ms = (one.ended_us - one.started_us) // 1000
        where = f"{one.pop}/{one.engine or '*'}"
        rows.append((f"attempt {number}", f"{where} {one.outcome} in {took_ms} ms: {one.reason}"))
    return rows


def _path(question: Question, answer: Answer, receipt: Receipt | None) -> list[tuple[str, str]]:
    rows = [("entered at", question.via)]
    if receipt is None:
        rows.append(("receipt", answer.receipt_id or "none: the key is not known"))
        return rows
    rows.append(("rule", f"{receipt.rule} (zone {receipt.zone or '-'})"))
    if receipt.policy is not None:
        rows.append(("policy", receipt.policy))
    if receipt.cache == "hit":
        like = (receipt.cache_similarity or 0) / 1_000_000
        words = f"{receipt.cache_entry}, similarity {like:.4f}, from {receipt.cache_from or '-'}"
        rows.append(("kept answer", words))
    if receipt.handling:
        rows.append(("handling", ", ".join(receipt.handling)))
    if receipt.served_pop:
        engine = f"{receipt.served_pop}/{receipt.served_engine or '*'}"
        rows.append(("served by", engine))
        rows.append(("processed_in", receipt.processed_in or "-"))
    finish = f", finish: {receipt.finish_reason}" if receipt.finish_reason else ""
    rows.append(("outcome", f"{receipt.outcome.value}, status {receipt.status}{finish}"))
    if receipt.usage is not None:
        used = receipt.usage
        rows.append(
            (
                "tokens",
                f"{used.input} in ({used.cache_read} cached), "
                f"{used.generated} out, {used.provenance}",
            )
        )
    if answer.first_token_ms is not None:
        rows.append(("first token", f"{answer.first_token_ms:.0f} ms"))
    attested = receipt.attested.decode() if receipt.attested else None
    if attested is not None:
        rows.append(("attested", f"by {attested.pop}, {attested.country}, {attested.entity}"))
    rows.append(
        (
            "receipt",
            f"{receipt.id} (no. {receipt.seq} of {receipt.tenant} at {_journal(receipt)})",
        )
    )
    return rows


def _receipt(state_dir: Path, receipt_id: str) -> Receipt | None:
    journals = (journal_of(state_dir, number) / "receipts" for number in journals_of(state_dir))
    found = (find_receipt(journal, receipt_id) for journal in journals)
    return next((one for one in found if one is not None), None)


def _journal(receipt: Receipt) -> str:
    return receipt.ingress_pop + (f"/{receipt.worker}" if receipt.worker else "")
