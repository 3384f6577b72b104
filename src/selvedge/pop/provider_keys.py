"""Which secret a provider is asked with: several in turn, and none that it has just refused.

A 429 cools the key that it was told to, not the provider: while another key is free, that one is
asked with. How long is the provider's word (`Retry-After`), else doubled each time in a row, and
bounded either way. What answers tell of limits is learned: a key that has nothing left rests until
it has again. Each worker learns by itself. Names of secrets are told; secrets never are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from selvedge.fabric import Provider
from selvedge.wire import Limits

COOLING_US: Final = 1_000_000
COOLING_US_MAX: Final = 60_000_000
"""However often a key is refused, and whatever its provider asks for."""
BARRED_US: Final = 60_000_000
"""How long a key rests that its provider does not know (401, 403)."""
_AUTH: Final = frozenset({401, 403})
_STREAK_MAX: Final = 8
_LEVELS: Final = ("requests", "tokens", "input_tokens", "output_tokens")


class Taken(msgspec.Struct, frozen=True):
    """A key to ask with. ``name`` is None where the provider asks for none, or it is ``passed``: a
    tenant's own, for one request.
    """

    provider: str
    name: str | None
    secret: str
    passed: bool = False

    def __repr__(self) -> str:
        return f"Taken({self.provider}/{self.name})"


class KeyState(msgspec.Struct):
    """What is known of one key: until when it rests, and how often in a row it was refused."""

    until_us: int = 0
    streak: int = 0
    limits: Limits | None = None


class ProviderKeys:
    """The secrets that this process holds, and how each fares."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._sealed: Mapping[str, str] = {}
        self._states: dict[tuple[str, str], KeyState] = {}
        self._turns: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"ProviderKeys({len(self._sealed)} sealed)"

    def hold(self, sealed: Mapping[str, str]) -> None:
        """These are the sealed secrets from now on; one that was changed begins anew."""
        changed = {name for name, secret in sealed.items() if self._sealed.get(name) != secret}
        for provider, name in list(self._states):
            if name in changed:
                del self._states[provider, name]
        self._sealed = sealed

    def dials(self, provider: Provider) -> bool:
        """Whether this PoP can ask it at all."""
        return not provider.keys or any(self._secret(name) for name in provider.keys)

    def take(self, provider: Provider, at_us: int) -> Taken | None:
        """The next key in turn that does not rest; None where all do, or none is held."""
        if not provider.keys:
            return Taken(provider.id, None, "")
        turn = self._turns.get(provider.id, 0)
        self._turns[provider.id] = turn + 1
        for step in range(len(provider.keys)):
            name = provider.keys[(turn + step) % len(provider.keys)]
            secret = self._secret(name)
            if secret and self._rests_until(provider.id, name, at_us) <= at_us:
                return Taken(provider.id, name, secret)
        return None

    def has_another(self, provider: Provider, at_us: int) -> bool:
        """Whether a key is free now."""
        return any(
            self._secret(name) and self._rests_until(provider.id, name, at_us) <= at_us
            for name in provider.keys
        )

    def free_at_us(self, provider: Provider, at_us: int) -> int:
        """When the first of its keys is free again; now, where one is."""
        held = [name for name in provider.keys if self._secret(name)]
        return min([self._rests_until(provider.id, name, at_us) for name in held], default=at_us)

    def heard(
        self, taken: Taken, status: int, at_us: int, told_ms: int | None, limits: Limits | None
    ) -> bool:
        """What came of a key; whether it was the key that was refused, not the request."""
        if taken.name is None:
            return False
        state = self._states.setdefault((taken.provider, taken.name), KeyState())
        if limits is not None:
            state.limits = limits
        if status == 200:
            state.streak = 0
            return False
        if status in _AUTH:
            state.until_us = at_us + BARRED_US
            return True
        if status != 429:
            return False
        state.streak = min(state.streak + 1, _STREAK_MAX)
        rest_us = COOLING_US * 2 ** (state.streak - 1)
        if told_ms is not None:
            rest_us = max(told_ms * 1000, 1)
        state.until_us = at_us + min(rest_us, COOLING_US_MAX)
        return True

    def states(self) -> Mapping[tuple[str, str], KeyState]:
        """By provider and name of a key: how it fares."""
        return self._states

    def _secret(self, name: str) -> str:
        return self._sealed.get(name) or self._environment.get(name) or ""

    def _rests_until(self, provider: str, name: str, at_us: int) -> int:
        state = self._states.get((provider, name))
        if state is None:
            return 0
        until_us = state.until_us
        for name in _LEVELS if state.limits is not None else ():
            level = getattr(state.limits, name)
            if level is not None and level.remaining == 0 and level.reset_us is not None:
                until_us = max(until_us, min(level.reset_us, at_us + COOLING_US_MAX))
        return until_us
