"""``selvedge up``: a whole fleet on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path

import click
import msgspec
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selvedge.adapters import default_cache_dir, read_config
from selvedge.cli.ask import Wish, ask_and_show, make_question
from selvedge.cli.control import load_control
from selvedge.cli.home_option import home_option, json_option
from selvedge.control import DEFAULT_HOME, Home, LocalFabric, Running, has_control_extra
from selvedge.fabric import SelvedgeError

EXAMPLE = Path("examples/three-pops/fleet.yaml")


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option(
    "--wan",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="Emulate the distance between PoPs.",
)
@click.option("--once", metavar="PROMPT", help="Start, ask this, print answer and receipt, stop.")
@click.option("--via", default=None, help="With --once: PoP to enter at.")
@click.option("--tenant", "--key", default=None, help="With --once: key to ask with, by id.")
@click.option(
    "--control/--no-control",
    "with_control",
    default=None,
    help="Run a control process; by default where its extra is installed.",
)
@click.option(
    "--prove",
    is_flag=True,
    help="Run the logs of the file as well; where it names none, one log and a witness.",
)
@click.option("--any-port", is_flag=True, help="Let PoPs listen on free ports, not the file's.")
@home_option
@json_option
def up(
    *,
    config: Path | None,
    wan: str,
    once: str | None,
    via: str | None,
    tenant: str | None,
    any_port: bool,
    prove: bool,
    with_control: bool | None,
    home: Path,
    as_json: bool,
) -> None:
    """Run the fleet of CONFIG (default: the three-PoP example) on this machine."""
    description = read_config(config or _example())
    wanted = has_control_extra() if with_control is None else with_control
    own = load_control(None, home=str(home.resolve())) if wanted else None
    fabric = LocalFabric(
        Home(home),
        description,
        wan=wan == "on",
        any_port=any_port,
        control=own,
        proves=prove,
    )
    wish = Wish(once, tenant, via) if once is not None else None
    for name, known in ((tenant, description.keys), (via, description.pops)):
        if wish is not None and name is not None and name not in known:
            raise SelvedgeError(f"the fleet has no {name!r}; it has {', '.join(known)}")
    session = Session(fabric, Home(home), wish, as_json=as_json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(session.run()))


def _example() -> Path:
    if EXAMPLE.is_file():
        return EXAMPLE
    raise SelvedgeError(f"name a fleet file: {EXAMPLE} is not in this directory")


class Session:
    """One ``selvedge up``: start, serve or ask once, stop. Whatever happens, it stops."""

    def __init__(
        self, fabric: LocalFabric, home: Home, wish: Wish | None, *, as_json: bool
    ) -> None:
        self._fabric = fabric
        self._home = home
        self._wish = wish
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        working = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            return 0 if self._wish is None else 130
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
            with self._console.status("stopping"):
                stopped = await self._fabric.stop()
            if stopped:
                self._console.print("stopped; nothing is left running")

    async def _work(self) -> int:
        with self._console.status("starting"):
            running = await self._fabric.start(default_cache_dir(), self._say)
        if self._wish is not None:
            question = make_question(self._home, running, self._wish)
            return 1 if await ask_and_show(self._home, question, as_json=self._as_json) else 0
        if self._as_json:
            click.echo(msgspec.json.encode({"running": running, "keys": self._home.keys()}))
        else:
            _welcome(running, self._home)
        while True:
            dead = await self._fabric.next_death()
            words = f"[red]{dead.name} ended[/red] (code {dead.exit_code}); see {dead.log_path}"
            self._console.print(words)

    def _say(self, step: str) -> None:
        self._console.print(f"[green]✓[/green] {step}")


def _welcome(running: Running, home: Home) -> None:
    """Endpoints, keys, and lines that work as they are printed."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(
        title=f"fleet {running.fleet}, release {running.release}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("PoP", "site", "base_url", "engines"):
        table.add_column(name)
    for pop_id, pop in running.pops.items():
        table.add_row(
            pop_id,
            f"{pop.city}, {pop.country}",
            f"{pop.url}/v1",
            ", ".join(pop.engines) or "none: content only",
        )
    console.print()
    console.print(table)
    _print_links(console, running)
    minted = home.keys()
    keys = {key_id: minted[key_id] for key_id in running.keys if key_id in minted}
    console.print("\nkeys")
    for key_id, key in keys.items():
        console.print(f"  {key_id:<12} {key}", markup=False)
    entry = next(
        (one for one in running.pops if not running.pops[one].engines), next(iter(running.pops))
    )
    url, key = running.pops[entry].url, next(iter(keys.values()), "sk-…")
    model, where = running.chat_model, _where(home)
    if model is not None:
        console.print(f"\ntry it, through {entry}:\n")
        console.print(escape(_curl(url, key, model)))
        console.print("\nor in Python, after 'pip install openai':\n")
        console.print(escape(_python(url, key, model)))
        console.print(
            f"\nor   {_command('ask')} 'Name three uses of a selvedge.' --via {entry}{where}"
        )
    console.print(f"then {_command('receipts')} tail{where}")
    if running.control is not None:
        console.print(f"admin API {running.control.admin_url}: {_command('key')} create --help")
        if where:
            console.print(f"commands that ask it take{where}")
    console.print("\nCtrl-C stops everything")


def _print_links(console: Console, running: Running) -> None:
    if not running.wan:
        console.print("\nlinks between PoPs: loopback, no distance")
        return
    pairs = {"-".join(sorted(name.split("-"))): rtt for name, rtt in running.wan.items()}
    shown = ", ".join(f"{name} {rtt:.0f} ms" for name, rtt in pairs.items())
    console.print(f"\nlinks between PoPs (emulated round trips): {shown}")


def _command(verb: str) -> str:
    """How the user reaches this command again, whether or not the environment is active."""
    program = Path(sys.argv[0])
    local = Path(os.path.relpath(program)) if program.name == "selvedge" else Path("selvedge")
    return f"{local} {verb}"


def _where(home: Home) -> str:
    """The option by which other commands find this fabric, where it is not in the usual place."""
    usual = home.directory.resolve() == Path(DEFAULT_HOME).resolve()
    return "" if usual else f" --home {shlex.quote(os.path.relpath(home.directory))}"


def _curl(url: str, key: str, model: str) -> str:
    return (
        f"curl -s {url}/v1/chat/completions -H 'Authorization: Bearer {key}' "
        "-H 'Content-Type: application/json' "
        f"""-d '{{"model":"{model}","max_tokens":60,"""
        """"messages":[{"role":"user","content":"Name three uses of a selvedge."}]}'; echo"""
    )


def _python(url: str, key: str, model: str) -> str:
    return (
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="{url}/v1", api_key="{key}")\n'
        f'answer = client.chat.completions.create(model="{model}", max_tokens=60,\n'
        '    messages=[{"role": "user", "content": "Name three uses of a selvedge."}])\n'
        "print(answer.choices[0].message.content)"
    )
