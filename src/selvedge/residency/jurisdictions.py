"""Groups of countries and instruments of transfer, with the days from and to which each holds.

A group is a list of members, countries or other groups. A transfer is a row: what an exporter under
one regime may rest on to let an importer in another country have personal data. A row holds from
its day on, and no more on its last: ``from`` <= day < ``until``. A day begins at 00:00 UTC.
Nothing here is legal advice: who runs a fleet reviews the list, or brings one of their own.
This module refuses to know where lists come from; their errors name the row and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from selvedge.fabric import UNKNOWN_COUNTRY, BadRelease, is_country

DAY_US: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1)
_ROWS_MAX: Final = 10_000


def day_us(day: date) -> int:
    """The moment at which a day begins, in microseconds UTC."""
    return (day - _EPOCH).days * DAY_US


def day_at(at_us: int) -> date:
    """The UTC day of a moment."""
    return date.fromordinal(_EPOCH.toordinal() + at_us // DAY_US)


class Member(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"since": "from"},
):
    """A row of a group: countries, or another group, for a time. None: as long as anybody knows."""

    countries: tuple[str, ...] = ()
    group: str | None = None
    since: date | None = None
    until: date | None = None


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of countries that changes with the days; ``source`` says where to check it."""

    members: tuple[Member, ...]
    source: str = ""


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A law under which data is exported: inside its ``home`` group nothing is a transfer."""

    home: str
    source: str = ""


class Transfer(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"countries": "to", "since": "from"},
):
    """What importers in these countries (or groups) may be sent data by, for a time.

    ``entity``, ``certificate`` and ``sector`` narrow it to importers that are it, hold it or work
    in it; None narrows nothing.
    """

    regime: str
    countries: tuple[str, ...]
    instrument: str
    since: date | None = None
    until: date | None = None
    entity: str | None = None
    certificate: str | None = None
    sector: str | None = None
    source: str = ""


class Party(msgspec.Struct, frozen=True):
    """Somebody who can come by the data: where they are, and what they hold."""

    country: str
    entity: str = ""
    certificates: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()


class Jurisdictions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A list, checked when it is built; ``version`` is what receipts name."""

    version: str
    reviewed: date
    note: str = ""
    groups: dict[str, Group]
    regimes: dict[str, Regime] = {}
    transfers: tuple[Transfer, ...] = ()

    def __post_init__(self) -> None:
        if not self.version or len(self.version) > 64 or "/" in self.version:
            raise BadRelease("version", "has 1 to 64 characters, none of them '/'")
        rows = len(self.transfers) + sum(len(one.members) for one in self.groups.values())
        if rows > _ROWS_MAX:
            raise BadRelease("transfers", f"a list has at most {_ROWS_MAX} rows")
        for name, group in self.groups.items():
            self._check_group(name, group)
        self._check_circles()
        for name, regime in self.regimes.items():
            self._check_named(f"regimes.{name}.home", regime.home)
        self._check_transfers()

    def group(self, name: str, day: date) -> frozenset[str]:
        """The countries of a group on a day. Raises `KeyError` of one that is not in the list."""
        found: set[str] = set()
        for row in self.groups[name].members:
            if _holds(row.since, row.until, day):
                found.update(row.countries)
                found.update(self.group(row.group, day) if row.group is not None else ())
        return frozenset(found)

    def groups_on(self, day: date) -> Mapping[str, frozenset[str]]:
        """Every group's countries on a day."""
        return {name: self.group(name, day) for name in self.groups}

    def instruments(self, parties: Sequence[Party], day: date) -> frozenset[str]:
        """What holds for every one of these parties alike, as ``gdpr/art45``.

        At home no instrument is needed: there each of the regime's holds.
        """
        found: set[str] = set()
        homes = {name: self.group(one.home, day) for name, one in self.regimes.items()}
        for name in {f"{row.regime}/{row.instrument}" for row in self.transfers}:
            regime = name.partition("/")[0]
            if all(
                party.country in homes[regime] or self._reaches(name, party, day)
                for party in parties
            ):
                found.add(name)
        return frozenset(found)

    def moments(self) -> tuple[date, ...]:
        """Every day on which something begins or ends, in order."""
        members = (row for group in self.groups.values() for row in group.members)
        days = [day for row in members for day in (row.since, row.until)]
        days += [day for row in self.transfers for day in (row.since, row.until)]
        return tuple(sorted({day for day in days if day is not None}))

    def _reaches(self, name: str, party: Party, day: date) -> bool:
        return party.country != UNKNOWN_COUNTRY and any(
            f"{row.regime}/{row.instrument}" == name
            and _holds(row.since, row.until, day)
            and (row.entity is None or row.entity == party.entity)
            and (row.certificate is None or row.certificate in party.certificates)
            and (row.sector is None or row.sector in party.sectors)
            and self._names(row, party.country, day)
            for row in self.transfers
        )

    def _names(self, row: Transfer, country: str, day: date) -> bool:
        return any(
            country == one or (one in self.groups and country in self.group(one, day))
            for one in row.countries
        )

    def _check_group(self, name: str, group: Group) -> None:
        if is_country(name) or not name or name == UNKNOWN_COUNTRY:
            raise BadRelease(f"groups.{name}", "is a country's code; give the group another name")
        if not group.members:
            raise BadRelease(f"groups.{name}.members", "a group has at least one row")
        held: dict[str, list[tuple[date, date, int]]] = {}
        for number, row in enumerate(group.members):
            field = f"groups.{name}.members[{number}]"
            if bool(row.countries) == (row.group is not None):
                raise BadRelease(field, "has either 'countries' or 'group'")
            for code in row.countries:
                _check_country(f"{field}.countries", code)
            if row.group is not None:
                self._check_named(f"{field}.group", row.group)
            for one in row.countries or (row.group or "",):
                _put_apart(held.setdefault(one, []), row, (field, one, number))

    def _check_named(self, field: str, name: str) -> None:
        if name not in self.groups:
            raise BadRelease(
                field, f"{name!r} is not a group of this list{close(name, self.groups)}"
            )

    def _check_circles(self) -> None:
        done: set[str] = set()

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                circle = " > ".join((*path[path.index(name) :], name))
                words = f"the groups are circular ({circle}); name countries in one of them"
                raise BadRelease(f"groups.{name}.members", words)
            if name not in done:
                for row in self.groups[name].members:
                    if row.group is not None:
                        visit(row.group, (*path, name))
                done.add(name)

        for name in self.groups:
            visit(name, ())

    def _check_transfers(self) -> None:
        held: dict[tuple[object, ...], list[tuple[date, date, int]]] = {}
        for number, row in enumerate(self.transfers):
            field = f"transfers[{number}]"
            if row.regime not in self.regimes:
                words = f"{row.regime!r} is not under regimes{close(row.regime, self.regimes)}"
                raise BadRelease(f"{field}.regime", words)
            if not row.instrument or "/" in row.instrument:
                raise BadRelease(f"{field}.instrument", "is a word without '/', as 'art45'")
            if not row.countries:
                raise BadRelease(f"{field}.to", "names at least one country or group")
            for code in row.countries:
                if code not in self.groups:
                    _check_country(f"{field}.to", code, self.groups)
                narrowed = (row.entity, row.certificate, row.sector)
                key = (row.regime, code, row.instrument, *narrowed)
                _put_apart(held.setdefault(key, []), row, (field, code, number))


def _holds(since: date | None, until: date | None, day: date) -> bool:
    return (since is None or since <= day) and (until is None or day < until)


def _put_apart(
    held: list[tuple[date, date, int]], row: Member | Transfer, at: tuple[str, str, int]
) -> None:
    """Add a row's days to those of the same thing. Raises `BadRelease` where they overlap."""
    field, named, number = at
    since, until = row.since or date.min, row.until or date.max
    if since >= until:
        words = f"ends on {until}, which is not after {since}; swap 'from' and 'until'"
        raise BadRelease(f"{field}.until", words)
    for other_since, other_until, other in held:
        if since < other_until and other_since < until:
            where = field.replace(f"[{number}]", f"[{other}]")
            words = f"{named!r} has days in common with {where}; end one where the other begins"
            raise BadRelease(f"{field}.from", words)
    held.append((since, until, number))


def _check_country(field: str, code: str, groups: Iterable[str] = ()) -> None:
    if not is_country(code):
        words = f"{code!r} is not an ISO 3166-1 alpha-2 country code, as 'SG'"
        raise BadRelease(field, words + (close(code, groups) or ""))


def close(name: str, known: Iterable[str]) -> str:
    """Words for somebody who mistyped one of these names; nothing where none is like it."""
    names = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    if found:
        return f"; did you mean {names[found[0]]!r}?"
    listed = sorted(names.values())
    return f"; there are {', '.join(listed[:12])}" if listed else ""


def named_groups(rows: Mapping[str, frozenset[str]], country: str) -> Iterator[str]:
    """The names of the groups that a country is in, in order."""
    return (name for name in sorted(rows) if country in rows[name])
