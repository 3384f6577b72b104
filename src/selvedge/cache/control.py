"""What a client says to the cache, and what the cache says back: RFC 9111, RFC 9211.

Requests: the directives of RFC 9111 section 5.2.1. Names are read in any case, values as tokens or
in quotes; what is unknown is ignored, as the RFC says; what is known and unreadable is refused by
name, because a client that asks for `max-age=1h` has asked for something. Said twice, the stricter
holds. Answers: `Cache-Status` (RFC 9211, a structured field) and `Age` (RFC 9111 section 5.1).

Nothing stale is ever served, so `max-stale` is read and changes nothing.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from selvedge.fabric import Refused
from selvedge.fabric.value import Value

SECONDS_MAX: Final = 2**31
"""RFC 9111 section 1.2.2: greater values are taken for this one."""

Forwarded = Literal["bypass", "uri-miss", "miss", "request", "stale"]
"""Why a request went on to an engine (RFC 9211 section 2.2), of the reasons that we have."""

_TOKEN_CHARS: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE: Final = re.compile(
    rf'[ \t]*(?:({_TOKEN_CHARS})(?:[ \t]*=[ \t]*(?:({_TOKEN_CHARS})|"((?:[^"\\]|\\.)*)"))?)?[ \t]*'
)
_ESCAPED: Final = re.compile(r"\\(.)")
_SF_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~:/0-9A-Za-z-]*")
_NOT_SF_CHAR: Final = re.compile(r"[^\x20-\x7e]")
_TIMED: Final = ("max-age", "min-fresh", "max-stale")


class Directives(Value, frozen=True):
    """What a request says in `Cache-Control`; the default says nothing."""

    no_cache: bool = False
    """Nothing kept may answer; the new answer may be kept."""
    no_store: bool = False
    """Nothing of this request may be kept; neither is it answered from the cache."""
    only_if_cached: bool = False
    """Answer from the cache or with 504."""
    max_age_s: int | None = None
    """The oldest answer that is accepted."""
    min_fresh_s: int = 0
    """For how long the answer must still be fresh."""

    @property
    def looks_up(self) -> bool:
        """Whether a kept answer may be served at all."""
        return not (self.no_cache or self.no_store)

    def accepts(self, age_s: int, ttl_s: int) -> bool:
        """Whether a kept answer of this age, out of its time to live, may be served."""
        young = self.max_age_s is None or age_s <= self.max_age_s
        return self.looks_up and young and age_s + self.min_fresh_s <= ttl_s


def read_cache_control(value: str) -> Directives | Refused:
    """The directives of a `Cache-Control` request header; of several, joined by commas."""
    said: dict[str, list[str | None]] = {}
    at = 0
    while at <= len(value):
        found = _DIRECTIVE.match(value, at)
        if found is None or (found.end() < len(value) and value[found.end()] != ","):
            return _refused("is a list of names and values, separated by commas")
        name, token, quoted = found.groups()
        if name is not None:
            written = _ESCAPED.sub(r"\1", quoted) if quoted is not None else token
            said.setdefault(name.lower(), []).append(written)
        at = found.end() + 1
    seconds: dict[str, list[int]] = {}
    for name in _TIMED:
        for written in said.get(name, ()):
            if written is None and name == "max-stale":
                continue  # Of any age.
            if written is None or not (written.isascii() and written.isdigit()):
                return _refused(f"{name} needs whole seconds, as in {name}=60")
            digits = written.lstrip("0")[: len(str(SECONDS_MAX)) + 1] or "0"
            seconds.setdefault(name, []).append(min(int(digits), SECONDS_MAX))
    return Directives(
        no_cache="no-cache" in said,
        no_store="no-store" in said,
        only_if_cached="only-if-cached" in said,
        max_age_s=min(seconds["max-age"]) if "max-age" in seconds else None,
        min_fresh_s=max(seconds.get("min-fresh", [0])),
    )


def _refused(words: str) -> Refused:
    return Refused("invalid_header", f"Header Cache-Control: {words}.", param="cache-control")


def cache_status(
    forwarded: Forwarded | None = None,
    *,
    name: str = "selvedge",
    forwarded_status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl_s: int | None = None,
    key: str | None = None,
    detail: str | None = None,
) -> str:
    """The `Cache-Status` of an answer: a hit, unless ``forwarded`` says why it was none.

    ``forwarded_status`` is the engine's status where it differs from ours; ``collapsed``: this
    request waited for an identical one; ``ttl_s`` may be negative: stale for so long.
    """
    parts = [_name(name), "hit" if forwarded is None else f"fwd={forwarded}"]
    if forwarded is not None and forwarded_status is not None:
        parts.append(f"fwd-status={forwarded_status}")
    if ttl_s is not None:
        parts.append(f"ttl={ttl_s}")
    if forwarded is not None and stored:
        parts.append("stored")
    if forwarded is not None and collapsed:
        parts.append("collapsed")
    if key is not None:
        parts.append(f"key={_quoted(key)}")
    if detail is not None:
        parts.append(f"detail={_name(detail)}")
    return "; ".join(parts)


def _name(text: str) -> str:
    """A structured field's token where it is one, else a string."""
    return text if _SF_TOKEN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    plain = _NOT_SF_CHAR.sub("?", text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def age_s(made_us: int, now_us: int) -> int:
    """The `Age` of an answer in whole seconds; a clock that went back makes none negative."""
    return min(max(0, (now_us - made_us) // 1_000_000), SECONDS_MAX)
