"""Prometheus metrics: which mean what, and series of them made into batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from selvedge.plan.history import Finding
from selvedge.plan.ingest.columns import Array
from selvedge.plan.ingest.mapping import Mapping, Metric
from selvedge.plan.ingest.reading import BATCH_ROWS, Batch, Kind, SourceFile
from selvedge.plan.ingest.units import factor_of, unit_of

VIRTUAL: Final = (
    r"lo|veth.*|docker.*|br-.*|virbr.*|cni.*|flannel.*|cali.*|tunl?\d*|tap.*|dummy.*|bond.*|team.*"
    r"|.*\..*|vlan.*|vxlan.*|wg.*|kube.*|nodelocaldns"
)
"""Devices whose bytes another device counts too, or that leave no host."""


def _interface(metric: str, means: str, unit: str, kind: str) -> Metric:
    return Metric(
        metric=metric,
        means=means,
        unit=unit,
        kind=kind,
        without={"device": VIRTUAL},
        series=["instance", "device"],
    )


def _plain(metric: str, means: str, unit: str, *series: str) -> Metric:
    return Metric(metric=metric, means=means, unit=unit, series=list(series))


def _polled(metric: str, means: str, unit: str, kind: str) -> Metric:
    names = ["instance", "ifName", "ifDescr", "ifIndex"]
    return Metric(metric=metric, means=means, unit=unit, kind=kind, series=names)


METRICS: Final = (
    _interface("node_network_transmit_bytes_total", "out_bytes", "byte", "counter"),
    _interface("node_network_receive_bytes_total", "in_bytes", "byte", "counter"),
    _interface("node_network_speed_bytes", "capacity_bps", "byte/s", "gauge"),
    _polled("ifHCOutOctets", "out_bytes", "byte", "counter"),
    _polled("ifHCInOctets", "in_bytes", "byte", "counter"),
    _polled("ifHighSpeed", "capacity_bps", "Mbit/s", "gauge"),
    Metric(
        metric="node_cpu_seconds_total",
        means="cpu_idle_ms",
        unit="s",
        kind="counter",
        labels={"mode": "idle"},
        series=["instance", "cpu"],
    ),
    _plain("node_memory_MemAvailable_bytes", "memory_free_bytes", "byte", "instance"),
    _plain("node_memory_MemTotal_bytes", "memory_total_bytes", "byte", "instance"),
    _plain("DCGM_FI_DEV_GPU_UTIL", "gpu_bp", "percent", "instance", "Hostname", "gpu"),
    _plain("DCGM_FI_DEV_POWER_USAGE", "gpu_power_w", "W", "instance", "Hostname", "gpu"),
    _plain("ipmi_dcmi_power_consumption_watts", "power_w", "W", "instance"),
)
"""What is taken where a mapping file has no `metrics`: node_exporter, snmp_exporter, DCGM, IPMI."""


@dataclass(slots=True)
class _Gathered:
    pops: list[str] = field(default_factory=list)
    series: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    at_ms: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    rows: int = 0


@dataclass(slots=True)
class Metrics:
    """Gathers series of one file by what they mean."""

    source: SourceFile
    pop: str = "pop"
    """The label with the PoP."""
    table: dict[str, list[Metric]] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    """Metrics that mean nothing here, with their readings."""
    homeless: int = 0
    """Readings of series without the label of the PoP."""
    _gathered: dict[tuple[Kind, str], _Gathered] = field(default_factory=dict)

    @classmethod
    def of(cls, source: SourceFile) -> Metrics:
        """By the source's mapping."""
        mapping = source.mapping or Mapping()
        found = cls(source, mapping.pop.column or "pop")
        for metric in mapping.metrics or METRICS:
            found.table.setdefault(metric.metric, []).append(metric)
        return found

    def take(self, labels: Table[str, str], at_ms: Array, values: Array) -> Iterator[Batch]:
        """Readings of one series, by time."""
        name = labels.get("__name__", "")
        metric = next((one for one in self.table.get(name, ()) if _counts(one, labels)), None)
        if metric is None:
            if name not in self.table:
                self.ignored[name] = self.ignored.get(name, 0) + len(values)
            return
        mapping = self.source.mapping
        pop = (mapping.pop.value if mapping else "") or labels.get(self.pop, "")
        if not pop:
            self.homeless += len(values)
            return
        kind = Kind(metric.kind)
        unit = unit_of(name, metric.means, metric.unit, kind)
        factor = factor_of(metric.means, unit, kind, 0)
        gathered = self._gathered.setdefault((kind, metric.means), _Gathered())
        gathered.pops.append(pop)
        gathered.series.append(_series_of(metric, labels, self.pop))
        gathered.counts.append(len(values))
        gathered.at_ms.append(at_ms)
        gathered.values.append(values * float(factor))
        gathered.rows += len(values)
        if gathered.rows >= BATCH_ROWS:
            yield self._flush((kind, metric.means))

    def rest(self) -> Iterator[Batch | Finding]:
        """What is left at the end of the file, and what was not used."""
        for key in list(self._gathered):
            yield self._flush(key)
        if self.homeless:
            words = f"{self.homeless} readings have no label {self.pop!r}"
            remedy = "give pop.column in the mapping file, or pop.value"
            yield self._unused(self.homeless, f"{words}; left out: {remedy}")
        if self.ignored:
            names = sorted(self.ignored)
            count = sum(self.ignored.values())
            shown = ", ".join(repr(name) for name in names[:10])
            words = f"{count} readings of {len(names)} metrics that mean nothing here ({shown})"
            yield self._unused(count, f"{words}; left out: give metrics in the mapping file")

    def _unused(self, count: int, words: str) -> Finding:
        return Finding(kind="unreadable", count=count, source=self.source.name, detail=words)

    def _flush(self, key: tuple[Kind, str]) -> Batch:
        kind, means = key
        gathered = self._gathered.pop(key)
        rows = {
            "pop": _repeated(gathered.pops, gathered.counts),
            "series": _repeated(gathered.series, gathered.counts),
            "at_ms": pa.array(np.concatenate(gathered.at_ms)),
            means: pa.array(np.concatenate(gathered.values)),
        }
        if kind is Kind.COUNTER:
            rows["width"] = pa.array(np.zeros(gathered.rows, np.uint8))
        return Batch(kind, pa.table(rows))


def _counts(metric: Metric, labels: Table[str, str]) -> bool:
    wanted = all(re.fullmatch(p, labels.get(name, "")) for name, p in metric.labels.items())
    return wanted and not any(
        re.fullmatch(pattern, labels.get(name, "")) for name, pattern in metric.without.items()
    )


def _series_of(metric: Metric, labels: Table[str, str], pop: str) -> str:
    names = metric.series or sorted(set(labels) - {"__name__", pop})
    return ",".join(f"{name}={labels[name]}" for name in names if name in labels)


def _repeated(words: list[str], counts: list[int]) -> pa.DictionaryArray:
    known = {word: number for number, word in enumerate(dict.fromkeys(words))}
    numbers = np.repeat(np.array([known[word] for word in words], np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(list(known)))
