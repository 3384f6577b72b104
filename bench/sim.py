"""How fast the simulator is, part by part: `make bench-sim`.

Part `engines`: the Mooncake conversation trace, 12,031 requests, on 16 modelled engines under round
robin, in processor seconds of one core (the median of five); beside it the time that
`dynamo.replay` of ai-dynamo 1.1.1 takes for the same, installed in an environment of its own below
`bench/out`, without a GPU. Part `fleet`: see `bench.sim_fleet`. Every part adds its figures to
`bench/out/sim.json`.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import click
from rich.console import Console

from bench.figures import OUT, Figures, bar, circumstances, print_table, write_figures
from bench.sim_fleet import MILLION_GIB_MAX, MILLION_S_MAX, fleet
from selvedge.adapters import DataMissing, find_data, read_lines
from selvedge.sim import HARDWARE, MOONCAKE, Pool, read_mooncake, round_robin

REPLAY = OUT / "replay"
WORKERS = 16
MOONCAKE16_S_MAX = 5.0
ROUNDS = 5
# Their own requirements name frameworks that an offline replay does not touch.
PINNED = ("ai-dynamo==1.1.1", "ai-dynamo-runtime==1.1.1")
NEEDED = (
    "msgspec pyzmq tqdm prometheus-client zstandard aiohttp uvloop typing-extensions pydantic numpy"
)
ENGINE_ARGS = {
    "block_size": 512,
    "num_gpu_blocks": 600,
    "max_num_seqs": 128,
    "max_num_batched_tokens": 8192,
}


def engines(data: Path) -> Figures:
    """Part `engines`."""
    requests = read_mooncake(read_lines(data, MOONCAKE), MOONCAKE)
    times = []
    for _ in range(ROUNDS):
        pool = Pool(HARDWARE["mocker"].engine, WORKERS)
        started = time.process_time()
        run = pool.run(requests, round_robin())
        times.append(time.process_time() - started)
        assert len(run.served) == len(requests), "requests are not conserved"
    figures: Figures = {"mooncake16_s": round(median(times), 3), "mooncake16_rounds": ROUNDS}
    return {**figures, **replay(data)}


def replay(data: Path) -> Figures:
    """The same by `dynamo.replay`: wall-clock seconds, and what it found."""
    python = REPLAY / "venv" / "bin" / "python"
    try:
        if not (REPLAY / "installed").exists():
            _install(python)
        trace = REPLAY / "conversation_trace.jsonl"
        trace.write_bytes(gzip.decompress((data / MOONCAKE).read_bytes()))
        found = {mode: _replay(python, trace, mode) for mode in ("round_robin", "kv_router")}
    except (OSError, subprocess.CalledProcessError) as error:
        Console(stderr=True).print(f"dynamo.replay did not run, its figures are left out: {error}")
        return {}
    figures: Figures = {"dynamo_replay_s": round(found["round_robin"]["wall_s"], 3)}
    for mode, report in found.items():
        for name in ("mean_ttft_ms", "p99_ttft_ms", "mean_e2e_latency_ms"):
            figures[f"dynamo_{mode}_{name}"] = round(report[name], 2)
    return figures


def _install(python: Path) -> None:
    """Their packages, apart from ours."""
    REPLAY.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(REPLAY / "venv")], check=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", *PINNED], check=True)
    subprocess.run([*pip, *NEEDED.split()], check=True)
    (REPLAY / "installed").touch()


def _replay(python: Path, trace: Path, mode: str) -> dict[str, float]:
    out = REPLAY / f"{mode}.json"
    options = {
        "--replay-mode": "offline",
        "--router-mode": mode,
        "--num-workers": str(WORKERS),
        "--trace-block-size": "512",
        "--extra-engine-args": json.dumps(ENGINE_ARGS),
        "--report-json": str(out),
    }
    pairs = [word for option in options.items() for word in option]
    command = [str(python), "-m", "dynamo.replay", str(trace), *pairs]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    report: dict[str, float] = json.loads(out.read_text("utf-8"))
    report["wall_s"] = time.perf_counter() - started
    return report


SHOWN: tuple[tuple[str, float | None], ...] = (
    ("mooncake16_s", MOONCAKE16_S_MAX),
    ("dynamo_replay_s", None),
    ("fleet_1e6_s", MILLION_S_MAX),
    ("fleet_1e6_gib", MILLION_GIB_MAX),
)
"""Figures that the table shows, each with the most it may be."""

PARTS: Mapping[str, Callable[[Path], Figures]] = {"engines": engines, "fleet": fleet}


def row(figures: Figures, name: str, most: float | None) -> tuple[str, str, str]:
    """One figure as the table shows it."""
    value = figures.get(name)
    if value is None or most is None:
        return name, str(value or "-"), ""
    return name, str(value), bar(float(value) <= most, f"at most {most:g}")


def recorded() -> Figures:
    """What earlier runs wrote; a part that is not run keeps its figures."""
    path = OUT / "sim.json"
    found: Figures = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(sorted(PARTS)))
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder of traces.")
def main(parts: tuple[str, ...], data: Path | None) -> None:
    """Measure all parts, or those named."""
    try:
        folder = find_data(data)
    except DataMissing as error:
        raise click.ClickException(str(error)) from error
    figures = {**recorded(), **circumstances()}
    for part in parts or PARTS:
        figures.update(PARTS[part](folder))
    path = write_figures("sim", figures)
    print_table("simulator", [row(figures, *each) for each in SHOWN])
    click.echo(f"written to {path.name} in {path.parent.name}")


if __name__ == "__main__":
    main()
