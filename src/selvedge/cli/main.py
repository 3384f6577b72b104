"""The command group, and the one place where an error becomes one sentence and an exit code."""

from __future__ import annotations

import importlib.util
import platform
import sys

import click
import msgspec

from selvedge import __version__
from selvedge.cli.alerts import alert, forecast
from selvedge.cli.ask import ask
from selvedge.cli.audit import audit
from selvedge.cli.cache import cache
from selvedge.cli.collector import collector
from selvedge.cli.control import control
from selvedge.cli.doctor import doctor
from selvedge.cli.documents import docs
from selvedge.cli.engine import engine
from selvedge.cli.fleet import fleet
from selvedge.cli.invoice import invoice
from selvedge.cli.log import log, witness
from selvedge.cli.model import model
from selvedge.cli.plan import plan
from selvedge.cli.policy import policy
from selvedge.cli.pop import pop
from selvedge.cli.price import price
from selvedge.cli.provider import provider
from selvedge.cli.receipts import receipts
from selvedge.cli.savings import savings
from selvedge.cli.sim import sim
from selvedge.cli.sla import sla
from selvedge.cli.tenancy import key, project, tenant
from selvedge.cli.up import up
from selvedge.cli.usage import reconcile, usage
from selvedge.fabric import SelvedgeError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="selvedge")
def commands() -> None:
    """Selvedge: an edge inference fabric."""


@commands.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Print the version."""
    python = platform.python_version()
    story = importlib.util.find_spec("selvedge.exchange.story")
    compiled = story is not None and not str(story.origin).endswith(".py")
    if as_json:
        facts = {"selvedge": __version__, "python": python, "compiled": compiled}
        click.echo(msgspec.json.encode(facts))
    else:
        word = "compiled" if compiled else "interpreted"
        click.echo(f"selvedge {__version__} on Python {python}, hot path {word}")


for command in (
    *(up, pop, collector, engine, model, ask, fleet, receipts),
    *(tenant, project, key, control, usage, savings, reconcile),
    *(price, invoice, sla, alert, forecast, audit, policy),
    *(log, witness, cache, provider, plan),
    *(sim, doctor, docs),
):
    commands.add_command(command)


def main() -> None:
    """Run the command line; every error of ours is one sentence on stderr and exit code 1."""
    try:
        commands(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SelvedgeError as error:
        click.echo(f"selvedge: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
