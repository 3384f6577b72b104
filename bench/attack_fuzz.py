"""atheris (libFuzzer) on the request reader, the SSE reader and the JSON parser; the kept corpus
seeds it. `python -m bench.attack_fuzz --seconds 60` installs it into an environment of its own.

Beyond what Hypothesis does, it follows coverage into the readers. The laws are those of the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from bench.figures import OUT

PACKAGE = "atheris==3.0.0"
ENVIRONMENT = OUT / "environments" / "atheris"
TARGETS = ("requests", "sse", "json")


def target(name: str, seeds: str) -> None:
    """Fuzz one target in this process; ends with it. libFuzzer's options are in ``sys.argv``."""
    import atheris  # type: ignore[import-not-found]  # noqa: PLC0415 (an optional program)

    with atheris.instrument_imports(include=["selvedge.wire"]):
        from selvedge.fabric import Route  # noqa: PLC0415
        from selvedge.wire import EventTooLarge, SseReader, parse  # noqa: PLC0415
    from tests.wire.test_http1 import read  # noqa: PLC0415
    from tests.wire.test_http1_h11 import assert_compatible  # noqa: PLC0415

    def requests(data: bytes) -> None:
        at = data[0] % len(data) if data else 0
        assert_compatible(data)
        assert read([data[:at], data[at:]]) == read([data])

    def sse(data: bytes) -> None:
        whole, split = SseReader(50_000), SseReader(50_000)
        at = len(data) // 2
        try:
            expected = whole.feed(data) + whole.close()
            assert split.feed(data[:at]) + split.feed(data[at:]) + split.close() == expected
        except EventTooLarge:
            return

    def json(data: bytes) -> None:
        for route in Route:
            parse(route, data)

    one = {"requests": requests, "sse": sse, "json": json}[name]
    atheris.Setup([sys.argv[0], seeds, *sys.argv[3:]], one)
    atheris.Fuzz()


def lay_seeds(name: str, directory: Path) -> None:
    """The kept corpus as files, which is how libFuzzer reads it."""
    from tests.attack.corpus import ATTACKS  # noqa: PLC0415
    from tests.attack.corpus.sse import STREAMS  # noqa: PLC0415

    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":[{"type":"text"}]}]}'
    seeds = {"requests": [one.raw for one in ATTACKS], "sse": STREAMS, "json": [body]}[name]
    for at, seed in enumerate(seeds):
        if len(seed) < 4_000:
            (directory / str(at)).write_bytes(seed)


@click.command()
@click.option("--seconds", default=60, show_default=True, help="For each target.")
@click.option("--seed", default=1, show_default=True, help="Of libFuzzer.")
def main(seconds: int, seed: int) -> None:
    """Fuzz every target; exit code 1 where one of them found something."""
    if not (ENVIRONMENT / "atheris").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(ENVIRONMENT)]
        subprocess.run([*command, PACKAGE], check=True)
    failed = []
    for name in TARGETS:
        with tempfile.TemporaryDirectory(prefix="selvedge-fuzz-") as directory:
            lay_seeds(name, Path(directory))
            code = f"from bench.attack_fuzz import target; target({name!r}, {directory!r})"
            options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=8192"]
            options += [f"-artifact_prefix={OUT}/fuzz-{name}-", "-print_final_stats=1"]
            path = f"{ENVIRONMENT}{os.pathsep}{os.getcwd()}"
            done = subprocess.run(
                [sys.executable, "-c", code, "--", "--", *options],
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
        lines = done.stderr.splitlines()
        runs = next((row for row in lines if "number_of_executed_units" in row), "no figures")
        click.echo(f"{name}: exit code {done.returncode}; {runs}")
        if done.returncode:
            failed.append(name)
            click.echo("\n".join(lines[-25:]))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
