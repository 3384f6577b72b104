"""Who waits when there is not enough: pure decisions about two scarce things, with time as numbers.

*Slots* (`Shares`). Dynamic thresholds (Choudhury and Hahne 1998, IEEE/ACM ToN 6(2)): while others
ask too, a tenant may hold at most ``alpha`` times what is free of a pool. Alone among others it
gets ``alpha / (1 + alpha)`` of it, n busy tenants converge to equal parts, and there is always room
for one more. While nobody else has asked for a minute, a tenant may have it all.

*The event loop* (`Line`). In one turn of it only so much work is begun as keeps turns short; the
rest stands in line, a queue for each tenant, served in turn (deficit round robin, Shreedhar and
Varghese 1996, IEEE/ACM ToN 4(3)). Short turns are what makes it fair, for an answer takes two or
three of them, and what makes it fast, for a few requests at work fit into the processor's caches
and hundreds do not. How long the line may be is a time: as many requests as the loop, at the pace
it has shown, begins within it. That room is shared out by the thresholds above, so the heaviest is
refused first, and whoever asks for less than its part is not. As in CoDel (Nichols and Jacobson
2012, ACM Queue 10(5)), for each tenant by itself, a long queue is nothing while it is a burst; one
that stays is of no use to anybody and is kept short. The line is not empty while anybody is
refused: the loop does all that it can.

Refuses to know: sockets, keys, what a refusal looks like.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

_Key = TypeVar("_Key", str, tuple[str, str])
_One = TypeVar("_One")

ALPHA: Final = 4
SHARED_FOR_US: Final = 60_000_000

STANDING_US: Final = 5_000
"""So much work of a tenant may wait in a queue that stays."""
STANDING_FEW: Final = 64
"""Or so many requests: that many clients at once are no flood."""
INTERVAL_US: Final = 100_000
"""A queue that was longer all this time stays, until none of it was refused for as long."""
LEARN_US: Final = 100_000
"""Turns of so much time together say what a request costs."""
COST_GUESSED_US: Final = 200.0
"""Until then."""
LEAST_PART: Final = 4
"""However long the rest of a turn took, this part of a turn goes to what stands in line; and so
much beyond a turn to tenants of whom nothing does."""
FEW: Final = 8
"""So many of each tenant may stand in line also where others fill it, unless they are a crowd."""
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


class _Queue(Generic[_One]):
    __slots__ = ("credit", "ones", "short_us", "tenant", "weight")

    def __init__(self, tenant: str, now_us: int) -> None:
        self.tenant = tenant
        self.short_us = now_us
        """When it was last short."""
        self.ones: deque[tuple[int, _One]] = deque()
        self.weight = 0
        self.credit = 1
        """Below 1 after a request that weighed more than its round."""


class Line(Generic[_One]):
    """Requests that wait to begin. ``turn`` is told of each turn while anything stands here."""

    __slots__ = (
        "_begun",
        "_drain_until_us",
        "_drained_us",
        "_late",
        "_learned_begun",
        "_learned_us",
        "_pass_until_us",
        "_queues",
        "_rest_us",
        "_round",
        "_stays",
        "_turn_us",
        "_turned_cpu_us",
        "_turned_us",
        "_wait_us",
        "cost_us",
        "limit",
        "standing",
        "waiting",
    )

    def __init__(self, turn_us: int, wait_us: int) -> None:
        if not 0 < turn_us <= wait_us:
            raise ValueError("turn_us is above 0 and at most wait_us")
        self._turn_us = turn_us
        self._wait_us = wait_us
        self._queues: dict[str, _Queue[_One]] = {}
        self._round: deque[_Queue[_One]] = deque()
        self._turned_us = self._turned_cpu_us = self._drained_us = self._rest_us = 0
        self._pass_until_us = self._drain_until_us = 0
        self._stays: dict[str, int] = {}
        self._begun = self._late = self._learned_begun = self._learned_us = 0
        self.cost_us = COST_GUESSED_US
        """Of a request that weighs one, whatever else its turns did included."""
        self.limit = self.standing = 0
        """Weight that may stand in line; and of one tenant whose queue stays."""
        self._limit()
        self.waiting = 0
        """Weight that does."""

    def turn(self, now_us: int, cpu_us: int) -> None:
        """A turn begins; one that follows another tells what that one cost, as CPU time: what
        others on the machine take of the core is no cost of ours, and refusing would not give it
        back.
        """
        if self.waiting:
            self._learn(cpu_us - self._turned_cpu_us)
        self._turned_cpu_us = cpu_us
        # Smoothed, for what begins now is what the rest of the next turns answers: taken as it is,
        # long and short turns would alternate.
        rest_us = min(cpu_us - self._drained_us, self._turn_us)
        self._rest_us += (rest_us - self._rest_us) // 4
        part_us = max(self._turn_us - self._rest_us, self._turn_us // LEAST_PART)
        self._turned_us = now_us
        if self._stays:
            self._forget()
        self._drained_us = cpu_us
        self._begun = 0
        self._late = max(1, int(self._turn_us / LEAST_PART / self.cost_us))
        self._drain_until_us = now_us + part_us
        self._pass_until_us = now_us + self._turn_us

    def drained(self, cpu_us: int) -> None:
        """Nothing more of the line begins in this turn."""
        self._drained_us = cpu_us

    def passes(self, tenant: str, weight: int, now_us: int) -> bool:
        """Whether a request that came now begins now: nothing of its tenant waits, and this turn
        is not too long yet, or not much. So whoever asks for little never stands in line.
        """
        if tenant in self._queues:
            return False
        if now_us >= self._pass_until_us:
            if self._late <= 0:
                return False
            self._late -= weight
        self._begun += weight
        return True

    def joins(self, tenant: str, weight: int, one: _One) -> bool:
        """Stand in line; False where there is no room for this tenant."""
        queue = self._queues.get(tenant)
        held = queue.weight if queue is not None else 0
        if not self._has_room(tenant, held):
            if tenant in self._stays:
                self._stays[tenant] = self._turned_us
            return False
        if queue is None:
            queue = self._queues[tenant] = _Queue(tenant, self._turned_us)
            self._round.append(queue)
        elif held <= self.standing:
            queue.short_us = self._turned_us
        elif self._turned_us - queue.short_us >= INTERVAL_US:
            self._stays.setdefault(tenant, self._turned_us)
        queue.ones.append((weight, one))
        queue.weight += weight
        self.waiting += weight
        return True

    def next(self, now_us: int) -> _One | None:
        """The next one that begins in this turn; None where the rest waits for another."""
        if not self.waiting or now_us >= self._drain_until_us:
            return None
        while True:
            queue = self._round[0]
            if queue.credit > 0:
                break
            queue.credit += 1
            self._round.rotate(-1)
        weight, one = queue.ones.popleft()
        queue.credit -= weight
        queue.weight -= weight
        self.waiting -= weight
        self._begun += weight
        if not queue.ones:
            self._round.popleft()
            del self._queues[queue.tenant]
        return one

    def _has_room(self, tenant: str, held: int) -> bool:
        if tenant in self._stays and held >= self.standing:
            return False
        if held < ALPHA * (self.limit - self.waiting):
            return True
        return held < FEW and self.waiting < 2 * self.limit

    def _forget(self) -> None:
        """Queues that stayed, and do no longer."""
        for tenant, refused_us in list(self._stays.items()):
            if self._turned_us - refused_us >= INTERVAL_US:
                del self._stays[tenant]
                queue = self._queues.get(tenant)
                if queue is not None:
                    queue.short_us = self._turned_us

    def _learn(self, took_us: int) -> None:
        self._learned_us += took_us
        self._learned_begun += self._begun
        if self._learned_us >= LEARN_US and self._learned_begun:
            self.cost_us = (self.cost_us + self._learned_us / self._learned_begun) / 2
            self._learned_us = self._learned_begun = 0
            self._limit()

    def _limit(self) -> None:
        self.limit = max(FEW, int(self._wait_us / self.cost_us))
        self.standing = max(STANDING_FEW, int(STANDING_US / self.cost_us))
