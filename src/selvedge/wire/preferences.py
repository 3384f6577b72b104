"""The `provider` object and `zone` of a request -> preferences, or what is wrong with them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from selvedge.fabric import HANDLINGS, SORTS, Handling, Preferences, Refused
from selvedge.wire.body_shapes import MaxPrice, Price, ProviderObject

NAMES_MAX: Final = 64
NAME_MAX: Final = 128
_DOLLARS_MAX: Final = 1_000_000
_COLLECTS: Final = ("allow", "deny")
_NOTHING: Final = ProviderObject()


def read_preferences(provider: ProviderObject | None, zone: str | None) -> Preferences | Refused:
    """Both of one body; what is not understood is refused by its name."""
    said = provider or _NOTHING
    wrong = _check(said, zone)
    if wrong is not None:
        return wrong
    cap = said.max_price or MaxPrice()
    prices: list[int | None] = []
    for name in ("prompt", "completion", "request"):
        price = _micro(getattr(cap, name))
        if price is _BAD:
            rule = f"is dollars, from 0 to {_DOLLARS_MAX}"
            return _refused(f"provider.max_price.{name}", rule)
        prices.append(price)
    return Preferences(
        order=_names(said.order),
        only=_names(said.only),
        ignore=_names(said.ignore),
        fallbacks=said.allow_fallbacks is not False,
        sort=next((one for one in SORTS if one == said.sort), None),
        prompt_max=prices[0],
        completion_max=prices[1],
        request_max=prices[2],
        handling=_handling(said),
        quantisations=_names(said.quantizations),
        zone=zone or said.zone,
    )


def _check(said: ProviderObject, zone: str | None) -> Refused | None:
    for name in ("order", "only", "ignore", "quantizations"):
        names = getattr(said, name)
        if names is not None and len(names) > NAMES_MAX:
            return _refused(f"provider.{name}", f"has at most {NAMES_MAX} names")
        if any(not one or len(one) > NAME_MAX for one in names or ()):
            return _refused(f"provider.{name}", f"has names of 1 to {NAME_MAX} characters")
    if said.only == []:
        return _refused("provider.only", "names nobody: leave it out, or name who may answer")
    if said.sort is not None and said.sort not in SORTS:
        return _refused("provider.sort", f"is one of {', '.join(SORTS)}")
    if said.data_collection is not None and said.data_collection not in _COLLECTS:
        return _refused("provider.data_collection", f"is one of {', '.join(_COLLECTS)}")
    if zone is not None and said.zone is not None and zone != said.zone:
        return _refused("zone", "is said twice, and otherwise in provider.zone; say it once")
    return None


def _refused(field: str, rule: str) -> Refused:
    return Refused("invalid_value", f"Field {field!r} {rule}.", param=field)


def _handling(said: ProviderObject) -> tuple[Handling, ...]:
    asked = {"no-training": said.data_collection == "deny", "zero-retention": said.zdr is True}
    return tuple(one for one in HANDLINGS if asked[one])


def _names(names: list[str] | None) -> tuple[str, ...]:
    return tuple(one.lower() for one in names or ())


_BAD: Final = -1


def _micro(dollars: Price) -> int | None:
    """Micro-dollars; rounded down, so that a cap is never more than was said."""
    if dollars is None:
        return None
    try:
        found = Decimal(str(dollars))
    except InvalidOperation:
        return _BAD
    if not found.is_finite() or not 0 <= found <= _DOLLARS_MAX:
        return _BAD
    return int(found * 1_000_000)
