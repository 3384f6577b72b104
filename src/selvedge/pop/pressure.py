"""Who waits when there is not enough: pure decisions about two scarce things, with time as numbers.

*Slots* (`Shares`). Dynamic thresholds (Choudhury and Hahne 1998, IEEE/ACM ToN 6(2)): while others
ask too, a tenant may hold at most ``alpha`` times what is free of a pool. Alone among others it
gets ``alpha / (1 + alpha)`` of it, n busy tenants converge to equal parts, and there is always room
for one more. While nobody else has asked for a minute, a tenant may have it all.

*The event loop* (`Pressure`). What a request waits for, before anything of ours happens to it, is
the turn of the loop that is under way: the turn's length is the queue. As in CoDel (Nichols and
Jacobson 2012, ACM Queue 10(5)) a long turn is nothing, and nobody is refused before *every* turn of
a whole interval was too long: a burst passes. Then each tenant gets the same quota of requests a
turn, carried over to the next one as in deficit round robin (Shreedhar and Varghese 1996, IEEE/ACM
ToN 4(3)), and the quota is steered until turns are as long as they may be: those below it are never
refused, the heaviest is cut first, and those above it end up equal (max-min fairness). A quota a
turn, and not a rate, because a turn's length follows it at once; of a rate just above what the loop
can do the queue would grow without end. A tenant that floods alone delays nobody else, so its turns
may be longer than those that it shares.

Refuses to know: sockets, keys, what a refusal looks like.
"""

from __future__ import annotations

from typing import Final, TypeVar

from selvedge.fabric.value import Value

_Key = TypeVar("_Key", str, tuple[str, str])

ALPHA: Final = 4
SHARED_FOR_US: Final = 60_000_000

INTERVAL_US: Final = 100_000
"""Every turn must have been too long for this time before anybody is refused."""
WINDOW_US: Final = 20_000
"""The quota is looked at this often while there is pressure."""
ACTIVE_US: Final = 1_000_000
"""A tenant that asked within this time counts; so long after the last refusal it is calm again."""
ONSET: Final = 2
"""Turns that are shared must be so many times too long before one who floods is cut."""
RUNAWAY: Final = 2
"""A second long turn so many times too long is not waited out: the next would be longer still."""
LIMITED_US: Final = 100_000
"""A tenant that was refused within this time is one of those that are cut."""
QUOTA_MIN: Final = 8.0
"""Requests a turn that no tenant is cut below, however long turns are."""
CARRIED: Final = 4.0
"""Quotas that a tenant which asked for less may have at once."""
GROW: Final = 1.1
CUT: Final = 1 / GROW
"""The most that a quota grows or is cut at once; alike, or noise would press it down."""
CUT_FAR: Final = 0.5
"""Where turns are twice too long or longer, it is halved: others wait."""
FLOODS_TIMES: Final = 2.0
"""Of tenants without a limit yet, one that asks this many times what another asks floods it."""
WEIGHT_BYTES: Final = 64 * 1024
"""A request weighs one, and one more for so many bytes of its body."""


def weight_of(content_length: int | None) -> int:
    """What a request costs the loop, as a multiple of a small one."""
    return 1 + (content_length or 0) // WEIGHT_BYTES


class Shares:
    """Slots held per pool and tenant. Only running requests take room here."""

    __slots__ = ("_askers", "_held", "_totals")

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], int] = {}
        self._totals: dict[str, int] = {}
        self._askers: dict[str, tuple[str, int, int]] = {}

    def total(self, pool: str) -> int:
        """Slots of the pool that are held."""
        return self._totals.get(pool, 0)

    def held(self, pool: str, tenant: str) -> int:
        """Slots that this tenant holds."""
        return self._held.get((pool, tenant), 0)

    def take(self, pool: str, tenant: str, slots: int, now_us: int) -> bool:
        """Take one of the pool's ``slots``; False where there is none for this tenant."""
        total = self._totals.get(pool, 0)
        held = self._held.get((pool, tenant), 0)
        shared = self._ask(pool, tenant, now_us)
        if total >= slots or (shared and held >= ALPHA * (slots - total)):
            return False
        self._totals[pool] = total + 1
        self._held[pool, tenant] = held + 1
        return True

    def give_back(self, pool: str, tenant: str) -> None:
        """Return one slot."""
        _count_down(self._totals, pool)
        _count_down(self._held, (pool, tenant))

    def _ask(self, pool: str, tenant: str, now_us: int) -> bool:
        """Note who asks; whether another one has asked lately.

        Kept are the last asker and when one different from it last asked: of two tenants that
        both ask, either is "another" to the other.
        """
        last, at_us, other_us = self._askers.get(pool, (tenant, now_us, -SHARED_FOR_US))
        if last != tenant:
            other_us = at_us
        self._askers[pool] = (tenant, now_us, other_us)
        return now_us - other_us < SHARED_FOR_US


def _count_down(counts: dict[_Key, int], key: _Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


class Targets(Value, frozen=True):
    """Longest turns that are accepted for long, in microseconds."""

    alone_us: int
    """Where all who ask are equal, or there is only one."""
    shared_us: int
    """Where one who asks much makes others wait."""

    def __post_init__(self) -> None:
        if not 0 < self.shared_us <= self.alone_us:
            raise ValueError("shared_us is above 0 and at most alone_us")


class _Tenant:
    __slots__ = ("asked", "asked_us", "left", "refused", "refused_us", "turn")

    def __init__(self, now_us: int, turn: int) -> None:
        self.asked = 0
        self.refused = 0
        """Both of the running window, by weight."""
        self.asked_us = now_us
        self.left = 0.0
        """What is left of its quota; below 0 after a request that weighed more."""
        self.turn = turn
        self.refused_us = now_us - ACTIVE_US


class Pressure:
    """Watches turns; while they are too long, says who may pass.

    ``turned`` is told of turns: of some in calm, of each while ``watching``. ``admits`` is asked
    for each request while ``watching``.
    """

    __slots__ = (
        "_long_since_us",
        "_refused_us",
        "_settling",
        "_targets",
        "_tenants",
        "_turn",
        "_turns",
        "_turns_us",
        "_window_us",
        "quota",
        "watching",
    )

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._tenants: dict[str, _Tenant] = {}
        self._long_since_us: int | None = None
        self._window_us = 0
        self._turn = 0
        self._turns = 0
        self._turns_us = 0
        self._refused_us = 0
        self._settling = False
        self.quota: float | None = None
        """Requests a tenant and turn; None while nobody is refused."""
        self.watching = False
        """Whether `admits` must be asked."""

    def turned(self, now_us: int, took_us: int) -> None:
        """A turn of the loop took so long."""
        self._turn += 1
        if self.quota is not None:
            if self._settling:
                self._settling = False  # half of its work was let in under another quota
                return
            self._turns += 1
            self._turns_us += took_us
            if now_us - self._window_us >= WINDOW_US:
                self._steer(now_us)
        elif took_us <= self._targets.shared_us:
            self._calm()
        else:
            self._long(now_us, took_us)

    def admits(self, tenant: str, weight: int, now_us: int) -> bool:
        """Whether a request of this tenant may pass."""
        one = self._tenants.get(tenant)
        if one is None:
            one = self._tenants[tenant] = _Tenant(now_us, self._turn - 1)
        one.asked += weight
        one.asked_us = now_us
        quota = self.quota
        if quota is None:
            return True
        if one.turn != self._turn:
            turns = self._turn - one.turn
            one.left = min(one.left + quota * turns, quota * CARRIED)
            one.turn = self._turn
        if one.left > 0:
            one.left -= weight
            return True
        one.refused += weight
        one.refused_us = self._refused_us = now_us
        return False

    def floods(self, tenant: str) -> bool:
        """Whether a tenant is refused more than it is let in now."""
        one = self._tenants.get(tenant)
        return one is not None and 2 * one.refused > one.asked

    def _long(self, now_us: int, took_us: int) -> None:
        """A long turn while nobody is refused: count who asks, and see whether it lasts."""
        if self._long_since_us is None:
            self._long_since_us, self.watching = now_us, True
            self._begin_window(now_us)
            return
        self._turns += 1
        self._turns_us += took_us
        lasts = now_us - self._long_since_us >= INTERVAL_US
        runs_away = took_us > RUNAWAY * self._targets.alone_us
        if not (lasts or runs_away) or not self._tenants:
            return
        asked = sorted(one.asked for one in self._tenants.values())
        flooded = len(asked) > 1 and asked[-1] > FLOODS_TIMES * asked[0]
        mean_us, target_us = self._turns_us / self._turns, self._target(shared=flooded)
        if mean_us > target_us * (ONSET if flooded else 1):
            self.quota = max(QUOTA_MIN, asked[-1] / self._turns * target_us / mean_us)
            self._refused_us = now_us
            self._begin_window(now_us)
        else:
            self._long_since_us = None

    def _steer(self, now_us: int) -> None:
        """Cut the quota while turns are too long, raise it while they are not."""
        assert self.quota is not None
        self._forget(now_us)
        limited = sum(now_us - one.refused_us < LIMITED_US for one in self._tenants.values())
        target_us = self._target(shared=0 < limited < len(self._tenants))
        if now_us - self._refused_us > ACTIVE_US:
            self._calm()
            return
        change = target_us * self._turns / max(1, self._turns_us)
        steered = CUT_FAR if change <= CUT_FAR else min(GROW, max(CUT, change))
        self.quota = max(QUOTA_MIN, self.quota * steered)
        self._begin_window(now_us)

    def _target(self, *, shared: bool) -> int:
        return self._targets.shared_us if shared else self._targets.alone_us

    def _begin_window(self, now_us: int) -> None:
        self._window_us = now_us
        self._turns = self._turns_us = 0
        self._settling = self.quota is not None
        for one in self._tenants.values():
            one.asked = one.refused = 0

    def _forget(self, now_us: int) -> None:
        """Tenants that ask no more take no room, and have no say."""
        tenants = self._tenants
        for name in [key for key, one in tenants.items() if now_us - one.asked_us > ACTIVE_US]:
            del tenants[name]

    def _calm(self) -> None:
        self.watching = False
        self.quota = self._long_since_us = None
        self._tenants.clear()
