"""The shadow check: a sample of what the bits of residency decided, asked again of Cedar.

One attempt in so many is looked at, beside the event loop: in a thread, through a short queue that
drops what does not fit. It asks about the PoP that the attempt goes to, about this one, and about
one more in turn, each for every act. Where Cedar says otherwise than the bits do, an alarm goes
off, and the rule of the policy allows nothing at this PoP until another release: it is written
down beside the state, so that other workers hear of it within a second, and a restart forgets
nothing. Residency fails closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import read_policies, write_atomically
from selvedge.exchange import FleetView
from selvedge.fabric import ACTS, BadRelease, Policy, StoreFailed
from selvedge.pop.metrics import Metrics
from selvedge.residency import Facts, Rule, Rules, Written, expected, facts_of

STOPPED_DIRECTORY: Final = "stopped-rules"
STOPPED_POLL_S: Final = 1.0
NEVER: Final = 2**62
_STRIDE: Final = 7919

log: Final = logging.getLogger("selvedge.pop")


class Sample(msgspec.Struct, frozen=True):
    """One decision: the rule as the hot path had it, and the sites to ask about."""

    release_hash: str
    policy: Policy
    rules: Rules
    rule: Rule
    at_us: int
    sites: tuple[str, ...]


class Checker:
    """Asks Cedar about samples; what was parsed of a release's policy is kept until another's."""

    def __init__(self) -> None:
        self._hash = ""
        self._written: Written | None = None
        self._facts: Facts | None = None

    def check(self, sample: Sample) -> str | None:
        """What differs, in words; None where nothing does. Raises `BadRelease` of a policy that
        cannot be read here.
        """
        if self._written is None or self._facts is None or self._hash != sample.release_hash:
            self._facts = facts_of(sample.policy)
            self._written = read_policies(sample.policy.text)
            self._hash = sample.release_hash
        rule, rules = sample.rule, sample.rules
        name = rule.policy_rule or ""
        row = rules.row(name, sample.at_us)
        if not (row.process or row.enter):
            return None  # nothing is allowed: there is nothing to be wrong about
        if rule.allowed & ~row.process or rule.enter & ~row.entry or rule.cache & ~row.cache:
            return "the rule as it serves allows more than its row"
        for site in sample.sites:
            said = expected(self._written, self._facts, name, site, sample.at_us)
            for act in ACTS:
                allowed = all(one.allowed for one in said[act])
                if rules.holds(getattr(row, act), site) != allowed:
                    verb = "permits" if allowed else "denies"
                    return f"Cedar {verb} {act!r} at {site!r}, the bits do not say so"
        return None


class ShadowCheck:
    """One per process; everything but `_work` runs on the event loop's thread.

    ``left`` is counted down by who decides; at 0 it gives the decision to `take`.
    """

    def __init__(self, one_in: int, queue_max: int, metrics: Metrics, directory: Path) -> None:
        self._one_in = one_in or NEVER
        self.left = self._one_in
        self._metrics = metrics
        self._directory = directory / STOPPED_DIRECTORY
        self._samples: queue.Queue[Sample | None] = queue.Queue(queue_max)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = 0
        self._view: FleetView | None = None
        self._seen_ns = -1

    def take(self, view: FleetView, named: tuple[str, str], pop: str, at_us: int) -> None:
        """Have one decision checked: of a tenant's class, for an attempt at ``pop``."""
        self.left = self._one_in
        policy, rule = view.release.policy, view.rules.rule(*named, at_us)
        if policy is None or rule is None or rule.policy_rule is None:
            return
        if rule.policy_rule in view.rules.stopped:
            return
        self._turn += _STRIDE
        all_sites = view.release.sites
        other = all_sites[self._turn % len(all_sites)].id
        sites = tuple(dict.fromkeys((pop, view.here.id, other)))
        sample = Sample(view.release_hash, policy, view.rules, rule, at_us, sites)
        try:
            self._start()
            self._samples.put_nowait(sample)
        except queue.Full:
            pass  # a sample less
        except RuntimeError as error:
            self._fault(f"no thread: {error}")

    def serve(self, view: FleetView) -> None:
        """Another release serves: what was stopped by an older one is forgotten, what was stopped
        by this one stays so.
        """
        self._view, self._seen_ns = view, -1
        for file in self._files():
            if _read(file) != view.release_hash:
                with contextlib.suppress(OSError):
                    file.unlink()
        self.look()

    def look(self) -> None:
        """Stop what other workers found, where there is anything new."""
        try:
            now_ns = self._directory.stat().st_mtime_ns
        except OSError:
            return
        if self._view is None or now_ns == self._seen_ns:
            return
        self._seen_ns = now_ns
        for file in self._files():
            if _read(file) == self._view.release_hash:
                self._stop(file.name)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(STOPPED_POLL_S)
            self.look()

    def close(self) -> None:
        """Let the thread end, after what it was given."""
        if self._thread is not None:
            self._samples.put(None)
            self._thread.join()
            self._thread = None

    def _stop(self, rule: str) -> None:
        assert self._view is not None
        if rule not in self._view.rules.stopped:
            self._view.rules.stop(rule)
            log.error("rule %r of the policy allows nothing here until another release", rule)

    def _start(self) -> None:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="shadow-check", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        checker = Checker()
        while True:
            sample = self._samples.get()
            if sample is None:
                return
            try:
                found = checker.check(sample)
            except BadRelease as error:
                self._call(self._fault, f"the policy cannot be asked: {error}")
            except Exception as error:  # noqa: BLE001 (counted and logged; the next one may do)
                self._call(self._fault, f"a fault of ours: {type(error).__name__}: {error}")
            else:
                self._call(self._heard, sample, found)

    def _call(self, act: Callable[..., None], *given: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(act, *given)

    def _fault(self, words: str) -> None:
        self._metrics.faults.inc()
        log.error("shadow check of residency: %s", words)

    def _heard(self, sample: Sample, found: str | None) -> None:
        self._metrics.shadow_checks.inc()
        if found is None:
            return
        self._metrics.shadow_mismatches.inc()
        name = sample.rule.policy_rule or ""
        log.critical(
            "ALARM: residency rule %r (%s, policy %s) is compiled otherwise than it is written: %s",
            name,
            sample.rule.name,
            sample.policy.version,
            found,
        )
        sample.rules.stop(name)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_atomically(self._directory / name, sample.release_hash.encode())
        except (StoreFailed, OSError) as error:
            log.error("other workers cannot be told of it: %s", error)

    def _files(self) -> Sequence[Path]:
        try:
            return [one for one in self._directory.iterdir() if not one.name.startswith(".")]
        except OSError:
            return []


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
