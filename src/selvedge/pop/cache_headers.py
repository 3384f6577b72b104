"""What a request's headers ask of the cache: `Cache-Control` (RFC 9111), and two of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from selvedge.cache import read_cache_control
from selvedge.fabric import CacheWish, Refused

THRESHOLD_HEADER: Final = "selvedge-cache-threshold"
TAGS_HEADER: Final = "selvedge-cache-tags"
CONTROL_FIELD: Final = b"cache-control"
THRESHOLD_FIELD: Final = THRESHOLD_HEADER.encode()
TAGS_FIELD: Final = TAGS_HEADER.encode()
TAGS_MAX: Final = 16
TAG_CHARS_MAX: Final = 128
_NUMBER: Final = re.compile(r"(?:0|0?\.[0-9]{1,6}|0\.|1(?:\.0{0,6})?)")
_TAG: Final = re.compile(rf"[\x21-\x2b\x2d-\x7e]{{1,{TAG_CHARS_MAX}}}")


def read_wish(raw: Callable[[bytes], bytes | None]) -> CacheWish | Refused | None:
    """What is asked; None where no header says anything. ``raw`` gives a header's value."""
    control, threshold, tags = raw(CONTROL_FIELD), raw(THRESHOLD_FIELD), raw(TAGS_FIELD)
    if control is None and threshold is None and tags is None:
        return None
    found = read_cache_control(control.decode("latin-1") if control is not None else "")
    if isinstance(found, Refused):
        return found
    least = None if threshold is None else read_threshold(threshold.decode("latin-1"))
    if isinstance(least, Refused):
        return least
    named = () if tags is None else read_tags(tags.decode("latin-1"))
    if isinstance(named, Refused):
        return named
    return CacheWish(
        reuses=found.looks_up,
        keeps=not found.no_store,
        age_s_max=found.max_age_s,
        fresh_s_min=found.min_fresh_s,
        only_if_cached=found.only_if_cached,
        threshold=least,
        tags=named,
    )


def read_threshold(written: str) -> float | Refused:
    """A similarity from 0 to 1."""
    if _NUMBER.fullmatch(written.strip()):
        return float(written)
    words = f"Header {THRESHOLD_HEADER} is a number from 0 to 1, as 0.95."
    return Refused("invalid_header", words, param=THRESHOLD_HEADER)


def read_tags(written: str) -> tuple[str, ...] | Refused:
    """Names of tags, separated by commas."""
    tags = tuple(dict.fromkeys(one.strip() for one in written.split(",") if one.strip()))
    if len(tags) <= TAGS_MAX and all(map(_TAG.fullmatch, tags)):
        return tags
    words = (
        f"Header {TAGS_HEADER} is at most {TAGS_MAX} tags of up to {TAG_CHARS_MAX} visible ASCII "
        "characters, separated by commas; send fewer or shorter ones."
    )
    return Refused("invalid_header", words, param=TAGS_HEADER)
