"""What residency costs: one decision among 4,100 PoPs, and compiling 1,000 tenants' policies.

    make bench-policy

The fleet: 4,100 PoPs in 200 classes of sites (countries times operators, with parents and remote
access), 1,000 tenants under 40 distinct policies of Cedar, groups and instruments that change on
twelve days of the next 400. Timed one by one on one core, rounds interleaved, medians over rounds:

- a decision: `Rules.allowed` and `Rules.members`, tenant and ingress to candidate PoPs;
- beside it, what is asked without compiling: Cedar about one PoP, and Cedar about all 4,100, both
  with policies and sites parsed before;
- a compilation from text to rules, and one more after one tenant and one rule were changed.

Writes `bench/out/policy.json`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from random import Random
from statistics import median
from time import perf_counter, perf_counter_ns

import cedarpy
import msgspec

import selvedge.residency.rules
from bench.figures import Figures, bar, circumstances, print_table, quantile, write_figures
from selvedge.adapters import read_policies, shipped_jurisdictions
from selvedge.fabric import (
    COUNTRIES,
    DataClass,
    Engine,
    Entity,
    Model,
    PoP,
    Refused,
    Release,
    Served,
    Tenant,
    Zone,
)
from selvedge.residency import (
    Decisions,
    Fleet,
    Jurisdictions,
    Member,
    Rules,
    Sites,
    Transfer,
    compile_policy,
    day_at,
    day_us,
    strandings,
)

POPS, TENANTS, POLICIES, CLASSES, CHANGES = 4_100, 1_000, 40, 200, 12
DECISIONS = 20_000
ROUNDS = 9
TODAY = date(2026, 12, 1)
NOW_US = day_us(TODAY) + 36_000_000_000
BARS = {"allowed_us_p99": 10.0, "compile_s": 10.0, "one_tenant_s": 2.0}


def world(seed: int) -> tuple[Release, Jurisdictions]:
    """A fleet without its policy, and the list that it is compiled with."""
    random = Random(seed)
    countries = random.sample(sorted(COUNTRIES), 80)
    entities = [Entity(f"Holding {number}", random.choice(countries)) for number in range(5)]
    entities += [
        Entity(
            id=f"Edge {number}",
            country=random.choice(countries),
            parent=entities[number % 5].id,
            remote_access=tuple(random.sample(countries, number % 3)),
            certificates=("dpf",) if number % 4 == 0 else (),
            sectors=("commercial",),
        )
        for number in range(40)
    ]
    kinds = [
        (random.choice([*countries, "DE", "FR", "SG", "US"]), random.choice(entities[5:]).id)
        for _ in range(CLASSES)
    ]
    engine = Engine("e", "http://127.0.0.1:1", "vllm", (Served("chat", "chat"),))
    pops = tuple(pop_of(number, kinds[number % CLASSES], engine) for number in range(POPS))
    classes = tuple(
        Tenant(f"t{number}", (DataClass("standard", "world", "transit-allowed"),))
        for number in range(TENANTS)
    )
    release = Release(
        fleet="bench",
        version=1,
        made_us=NOW_US,
        models=(Model("chat", "chat", "unknown", "F16", 131_072),),
        pops=pops,
        zones=(Zone("world", tuple(sorted(COUNTRIES))),),
        tenants=classes,
        keys=(),
        entities=tuple(entities),
    )
    return release, changing(random, countries)


def pop_of(number: int, kind: tuple[str, str], engine: Engine) -> PoP:
    """One of the fleet; one of 23 has an engine."""
    name = f"p{number:04}"
    return PoP(
        id=name,
        city=name,
        country=kind[0],
        latitude=0.0,
        longitude=number * 0.04,
        url=f"https://{name}.example.net",
        peer=f"{name}.example.net:7443",
        public_key="A" * 43 + "=",
        entity=kind[1],
        engines=(engine,) if number % 23 == 0 else (),
    )


def changing(random: Random, countries: list[str]) -> Jurisdictions:
    """The list that is shipped, with a change every month or so."""
    shipped = shipped_jurisdictions()
    rows = list(shipped.transfers)
    members = list(shipped.groups["ASEAN"].members)
    for number in range(CHANGES):
        day, country = TODAY + timedelta(days=30 * (number + 1)), random.choice(countries)
        if number % 3:
            rows.append(Transfer("gdpr", (country,), f"scc{number}", until=day))
            rows.append(Transfer("gdpr", (country,), "bcr", since=day, entity=f"Edge {number}"))
        else:
            named = {code for row in members for code in row.countries}
            members.append(Member((next(one for one in countries if one not in named),), until=day))
    asean = msgspec.structs.replace(shipped.groups["ASEAN"], members=tuple(members))
    groups = shipped.groups | {"ASEAN": asean}
    return msgspec.structs.replace(shipped, groups=groups, transfers=tuple(rows))


def policy_of(random: Random, number: int) -> str:
    """A rule as somebody would write one: where from, by whom, and two places that are not."""
    groups = random.sample(["EEA", "EU", "ASEAN", "GCC", "MERCOSUR", "EFTA", "UK"], 3)
    wanted = " || ".join(f'resource.groups.contains("{one}")' for one in groups)
    barred = ", ".join(f'"{one}"' for one in random.sample(sorted(COUNTRIES), 4))
    sites = ", ".join(f'Site::"p{random.randrange(POPS):04}"' for _ in range(2))
    rule = f'principal == Rule::"rule-{number}"'
    return f"""
@id("where-{number}")
permit({rule}, action, resource)
when {{ {wanted} || resource.transfers.containsAny(["gdpr/art45", "gdpr/scc{number % CHANGES}"]) }};
@id("reach-{number}")
forbid({rule}, action in [Action::"process", Action::"keys", Action::"cache"], resource)
when {{ resource.reach.containsAny([{barred}]) }}
unless {{ resource.certificates.contains("dpf") }};
@id("sites-{number}")
forbid({rule}, action, resource) when {{ [{sites}].contains(resource) }};
"""


def under(release: Release, policies: int, changed: int | None = None) -> tuple[Tenant, ...]:
    """Every tenant's class under one of the policies; one tenant's under another one's."""
    tenants = list(release.tenants)
    for number, tenant in enumerate(tenants):
        wanted = (number + (1 if number == changed else 0)) % policies
        classes = (msgspec.structs.replace(tenant.classes[0], policy=f"rule-{wanted}"),)
        tenants[number] = msgspec.structs.replace(tenant, classes=classes)
    return tuple(tenants)


def compiled(
    bare: tuple[Release, tuple[Tenant, ...]], text: str, lists: Jurisdictions, known: Decisions
) -> tuple[Release, Rules]:
    """From policies as written to rules as they serve: what publishing does, and a PoP after it."""
    release, tenants = bare
    fleet = Fleet(release.pops, release.entities, tenants)
    made = compile_policy(read_policies(text), fleet, lists, NOW_US, known)
    release = msgspec.structs.replace(release, tenants=tenants, policy=made.policy)
    list(strandings(release))
    return release, Rules(release)


def once(act: Callable[[], object]) -> float:
    """Seconds it took."""
    gc.collect()
    begun = perf_counter()
    act()
    return perf_counter() - begun


class Direct:
    """Cedar asked for a request, with everything parsed that can be parsed before."""

    def __init__(self, release: Release, text: str, lists: Jurisdictions) -> None:
        seen = Sites(release.pops, release.entities, lists).on(day_at(NOW_US))
        self._ids = [pop.id for pop in release.pops]
        self._policies = cedarpy.PolicySet.from_str(text)
        self._entities = cedarpy.Entities.from_json_str(
            json.dumps(
                [
                    {
                        "uid": {"type": "Site", "id": name},
                        "attrs": msgspec.to_builtins(site),
                        "parents": [],
                    }
                    for name, site in zip(self._ids, seen, strict=True)
                ]
            )
        )

    def one(self, rule: str, place: int) -> bool:
        """Whether one PoP may process."""
        return self._ask(rule, self._ids[place : place + 1])[0]

    def all(self, rule: str) -> int:
        """The bitset of all that may."""
        found = self._ask(rule, self._ids)
        return sum(1 << place for place, allowed in enumerate(found) if allowed)

    def _ask(self, rule: str, names: list[str]) -> list[bool]:
        asked = [
            {
                "principal": {"type": "Rule", "id": rule},
                "action": {"type": "Action", "id": "process"},
                "resource": {"type": "Site", "id": name},
            }
            for name in names
        ]
        found = cedarpy.is_authorized_batch(asked, self._policies, self._entities)
        return [one.allowed for one in found]


def decide(rules: Rules, random: Random, count: int) -> list[int]:
    """Nanoseconds of each decision: of any tenant, at any PoP, at any moment of a month."""
    asked = [
        (f"t{random.randrange(TENANTS)}", f"p{random.randrange(POPS):04}", NOW_US + at)
        for at in range(count)
    ]
    took = []
    allowed, members, clock = rules.allowed, rules.members, perf_counter_ns
    gc.collect()
    gc.disable()
    for tenant, ingress, at_us in asked:
        begun = clock()
        found = allowed(tenant, "standard", ingress, at_us)
        if not isinstance(found, Refused):
            members(found.bits)
        took.append(clock() - begun)
    gc.enable()
    return took


def measure(rounds: int, decisions: int) -> Figures:
    """Medians over rounds; each round has a part of everything, so that all see the same hour."""
    release, lists = world(1)
    random = Random(2)
    texts = [policy_of(random, number) for number in range(POLICIES)]
    text = "".join(texts)
    changed = "".join([*texts[:7], policy_of(random, 7), *texts[8:]])
    bare = (release, under(release, POLICIES))
    whole, again, quick, one, every = [], [], [], [], []
    asked = 0
    for number in range(rounds):
        known = Decisions()
        made: list[tuple[Release, Rules]] = []
        whole.append(once(lambda k=known, m=made: m.append(compiled(bare, text, lists, k))))
        asked = known.asked
        other = (release, under(release, POLICIES, changed=number))
        again.append(once(lambda o=other, k=known: compiled(o, changed, lists, k)))
        rules = made[0][1]
        quick.append(decide(rules, random, decisions))
        direct = Direct(release, text, lists)
        for _ in range(50):
            rule, place = f"rule-{random.randrange(POLICIES)}", random.randrange(POPS)
            one.append(once_ns(lambda r=rule, p=place, d=direct: d.one(r, p)))
        rule = f"rule-{number}"
        every.append(once(lambda r=rule, d=direct: d.all(r)))
        check(rules, direct, number)
    policy = made[0][0].policy
    assert policy is not None
    p99 = median(quantile(took, 0.99) for took in quick) / 1000
    p50 = median(quantile(took, 0.5) for took in quick) / 1000
    return {
        "compiled": not (selvedge.residency.rules.__file__ or "").endswith(".py"),
        "pops": POPS,
        "tenants": TENANTS,
        "policies": POLICIES,
        "rows": len(policy.rules),
        "policy_kib": len(msgspec.json.encode(policy)) // 1024,
        "questions": asked,
        "allowed_us_p50": round(p50, 2),
        "allowed_us_p99": round(p99, 2),
        "compile_s": round(median(whole), 2),
        "one_tenant_s": round(median(again), 2),
        "cedar_one_pop_us_p50": round(median(one) / 1000, 1),
        "cedar_one_pop_us_p99": round(quantile(one, 0.99) / 1000, 1),
        "cedar_all_pops_ms": round(median(every) * 1000, 1),
        "one_pop_ratio": round(median(one) / 1000 / p50, 1),
        "all_pops_ratio": round(median(every) * 1e6 / p50),
    }


def once_ns(act: Callable[[], object]) -> int:
    """Nanoseconds it took."""
    begun = perf_counter_ns()
    act()
    return perf_counter_ns() - begun


def check(rules: Rules, direct: Direct, number: int) -> None:
    """What is timed beside each other says the same."""
    rule = rules.rule(f"t{number}", "standard", NOW_US)
    assert rule is not None
    assert rule.allowed == direct.all(f"rule-{number}"), f"rule-{number} differs"


def show(figures: Figures) -> None:
    """Print the figures with their bars."""
    rows = [
        (name, str(value), bar(float(value) <= BARS[name], f"<= {BARS[name]}"))
        if name in BARS
        else (name, str(value), "")
        for name, value in figures.items()
    ]
    print_table("Residency", rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--decisions", type=int, default=DECISIONS)
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = circumstances() | measure(options.rounds, options.decisions)
    show(figures)
    write_figures("policy", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
