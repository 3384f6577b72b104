"""Samples folded into figures. Pure: medians over rounds, differences within a round."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from bench.gateway.cases import Sample

SATURATION: Final = "rps_0.5kb_c64"
SEQUENTIAL: Final = "rps_0.5kb_c1"
BARS: Final[dict[str, tuple[str, float]]] = {
    "rps_ratio_nginx": (">=", 0.30),
    "rps_ratio_litellm": (">=", 100),
    "rps_ratio_portkey": (">=", 10),
    "cpu_us_per_request": ("<=", 100),
    "chunks_ratio_nginx": (">=", 0.50),
    "chunks_ratio_litellm": (">=", 20),
    "cpu_per_chunk_ratio_nginx": ("<=", 1.6),
    "added_ms_p50": ("<=", 0.5),
    "added_itl_us_p99_200_streams": ("<=", 2000),
    "rss_mb_idle": ("<=", 80),
    "rss_kb_per_stream": ("<=", 60),
    "streams_2000_errors": ("<=", 0),
    "load_errors": ("<=", 0),
    "start_s": ("<=", 1.0),
}
JSON_KEYS: Final = (
    "rps_core",
    "rps_ratio_litellm",
    "rps_ratio_portkey",
    "rps_ratio_nginx",
    "chunks_ratio_litellm",
    "chunks_ratio_nginx",
    "added_ms_p50",
    "added_ms_p99",
    "nginx_added_ms_p99",
    "added_itl_us_p99_200_streams",
    "cpu_us_per_request",
    "cpu_us_per_chunk_paced",
    "cpu_per_chunk_ratio_nginx",
    "rss_mb_idle",
    "streams_2000_errors",
    "rss_kb_per_stream",
)
OF_SAMPLE: Final = (
    "cpu_us_per_request",
    "cpu_us_per_chunk",
    "server_cpu",
    "server_busy",
    "load_busy",
)
OTHERS_MAX: Final = 0.1
ADDED_P99_OF_NGINX: Final = (1.6, 0.5)

Figures = dict[str, float]


def med(samples: Sequence[Sample], case: str, target: str, key: str) -> float | None:
    """The median over rounds of one figure; None where it was not measured."""
    found = [value(one, key) for one in samples if (one.case, one.target) == (case, target)]
    return median(found) if found else None


def value(sample: Sample, key: str) -> float:
    """A figure of the load generator, or of the target's CPU."""
    if key in OF_SAMPLE:
        return float(getattr(sample, key))
    return float(sample.load[key])


def added(
    samples: Sequence[Sample], case: str, target: str, key: str, against: str = ""
) -> float | None:
    """The median over rounds of what a target adds to direct, in the figure's unit.

    A difference of like quantiles within one round; ``against`` is direct's case where it has
    another name.
    """

    def by_round(case: str, target: str) -> dict[int, float]:
        chosen = (one for one in samples if (one.case, one.target) == (case, target))
        return {one.round: value(one, key) for one in chosen}

    through, direct = by_round(case, target), by_round(against or case, "direct")
    found = [through[number] - direct[number] for number in through.keys() & direct.keys()]
    return median(found) if found else None


def ratio(above: float | None, below: float | None) -> float | None:
    """A quotient, where both are there."""
    return above / below if above is not None and below else None


def fold(samples: Sequence[Sample]) -> Figures:
    """The figures that the bars ask for, those that were measured."""

    def rps(target: str) -> float | None:
        return med(samples, SATURATION, target, "rps")

    def chunks(target: str) -> float | None:
        return med(samples, "sse", target, "chunks_per_s")

    def added_ms(target: str, part: str) -> float | None:
        us = added(samples, SEQUENTIAL, target, f"latency_{part}_us")
        return None if us is None else us / 1000

    def paced(target: str) -> float | None:
        return med(samples, "paced", target, "cpu_us_per_chunk")

    found = {
        "rps_core": rps("selvedge"),
        "rps_ratio_litellm": ratio(rps("selvedge"), rps("litellm")),
        "rps_ratio_portkey": ratio(rps("selvedge"), rps("portkey")),
        "rps_ratio_nginx": ratio(rps("selvedge"), rps("nginx")),
        "chunks_ratio_litellm": ratio(chunks("selvedge"), chunks("litellm")),
        "chunks_ratio_nginx": ratio(chunks("selvedge"), chunks("nginx")),
        "added_ms_p50": added_ms("selvedge", "p50"),
        "added_ms_p99": added_ms("selvedge", "p99"),
        "nginx_added_ms_p99": added_ms("nginx", "p99"),
        "added_itl_us_p99_200_streams": added(samples, "itl", "selvedge", "delay_p99_us"),
        "cpu_us_per_request": med(samples, SATURATION, "selvedge", "cpu_us_per_request"),
        "cpu_us_per_chunk_paced": paced("selvedge"),
        "cpu_per_chunk_ratio_nginx": ratio(paced("selvedge"), paced("nginx")),
    }
    # What the ratios come to by CPU alone, whoever else was on the core and whatever load could do.
    for name, case, key in (
        ("rps_ratio_nginx_by_cpu", SATURATION, "cpu_us_per_request"),
        ("chunks_ratio_nginx_by_cpu", "sse", "cpu_us_per_chunk"),
    ):
        found[name] = ratio(*(med(samples, case, one, key) for one in ("nginx", "selvedge")))
    figures = {name: round(one, 4) for name, one in found.items() if one is not None}
    if any(one.target == "selvedge" for one in samples):
        figures["load_errors"] = errors(samples)["selvedge"]
    return figures


def met(figures: Figures) -> dict[str, bool]:
    """Which bars were met, of those that were measured."""
    found = {}
    for name, (sign, limit) in BARS.items():
        if name in figures:
            found[name] = figures[name] >= limit if sign == ">=" else figures[name] <= limit
    if "added_ms_p99" in figures and "nginx_added_ms_p99" in figures:
        found["added_ms_p99"] = figures["added_ms_p99"] <= p99_limit(figures)
    return found


def p99_limit(figures: Figures) -> float:
    """What may be added at p99 over direct, in ms, by what nginx adds in the same run."""
    times, more = ADDED_P99_OF_NGINX
    return round(times * figures["nginx_added_ms_p99"] + more, 3)


def errors(samples: Sequence[Sample]) -> dict[str, int]:
    """Errors of each target over all loads: refused, not 2xx, cut or unfinished answers."""
    found: dict[str, int] = {}
    for one in samples:
        found[one.target] = found.get(one.target, 0) + int(one.load["errors"])
    return found


def others(samples: Sequence[Sample]) -> float:
    """The share of the server's core that went to somebody else, median over all runs."""
    # Direct has no server on that core; ticks are coarse, so a share may come out below nothing.
    found = [one.server_busy - one.server_cpu for one in samples if one.target != "direct"]
    return max(0.0, median(found)) if found else 0.0


def details(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """Medians of everything, by case and target."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for case, target in dict.fromkeys((one.case, one.target) for one in samples):
        of_both = [one for one in samples if (one.case, one.target) == (case, target)]
        keys = [*of_both[0].load, *OF_SAMPLE]
        found.setdefault(case, {})[target] = {
            key: round(median(value(one, key) for one in of_both), 3) for key in keys
        }
    return found
