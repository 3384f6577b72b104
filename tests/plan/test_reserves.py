"""The surge reserve in the report: what makes it, what does not, and what each choice leaves."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result

from selvedge.cli.plan_utilisation import reserve_words, utilisation
from selvedge.headroom import LEAPS_MAX, Surges
from selvedge.plan.history import STEP_S, BadPlan, write_sites
from selvedge.plan.pages import draw_pages
from selvedge.plan.utilisation import Asked, Utilisation, report
from selvedge.plan.utilisation.zones import month_span
from tests.plan import slow_report as slow
from tests.plan.made_histories import GBIT, NAMES, SITES, Row, damage, draw, store

MONTHS = ("2026-02", "2026-03")
BEGIN, MIDDLE, END = month_span(MONTHS[0])[0], *month_span(MONTHS[1])
DAY = 86_400 // STEP_S
LAST = (MIDDLE - BEGIN) // STEP_S - 1
"""The last sample of the first month."""
OUTAGES = [3 * DAY + 150, 9 * DAY + 180, 15 * DAY + 200, LAST, 40 * DAY + 140, 50 * DAY + 220]
"""The samples in which a site comes back."""


def plain(day: float = 0.5, night: float = 0.12, seed: int = 5) -> list[float]:
    """A use for each sample: ten hours of night, the rest day, and some noise."""
    random, found = Random(seed), []
    for at in range((END - BEGIN) // STEP_S):
        hour = at % DAY / 12
        part = min(1.0, max(0.0, (hour - 9) / 4)) - min(1.0, max(0.0, (hour - 21) / 2))
        found.append((night + (day - night) * part) * random.uniform(0.98, 1.02))
    return found


def with_outages(uses: list[float]) -> list[float]:
    """Six outages with 0.5 to 1 % left, each ending somewhere within a sample."""
    random, found = Random(6), list(uses)
    for back in OUTAGES:
        for at in range(back - random.randint(4, 24), back):
            found[at] = random.uniform(0.005, 0.01)
        found[back] *= random.uniform(0.3, 0.7)
    return found


def changed(uses: list[float], more: dict[int, float]) -> list[float]:
    return [more.get(at, use) for at, use in enumerate(uses)]


def flapping() -> list[float]:
    """Away every twentieth sample: more often than anybody would call an outage."""
    random = Random(7)
    return [
        random.uniform(0.005, 0.01) if at % 20 == 0 else random.uniform(0.3, 0.5)
        for at in range((END - BEGIN) // STEP_S)
    ]


PLANTED: dict[str, list[float]] = {
    "ber1": plain(),
    "ber2": with_outages(plain()),
    # By night: from a fortieth of the day's use, to fifteen times as much.
    "par": changed(plain(0.5, 0.03), {20 * DAY + 40: 0.45}),
    # From nothing to far above what it ever was.
    "adl": changed(plain(0.2, 0.1), {20 * DAY + 149: 0.008, 20 * DAY + 150: 0.9}),
    "nyc": flapping(),
}


class Planted:
    """The report of `PLANTED`, and the uses that its samples stand for."""

    def __init__(self, folder: Path) -> None:
        rows, self.uses = [], {}
        for name, uses in PLANTED.items():
            sent = [int(use * 10 * GBIT / 8 * STEP_S) for use in uses]
            self.uses[name] = [one / (10 * GBIT * (STEP_S / 8)) for one in sent]
            rows += [
                Row(NAMES.index(name), BEGIN + at * STEP_S, one, 0, 10 * GBIT, *[None] * 4)
                for at, one in enumerate(sent)
            ]
        self.history = store(folder, rows)
        self.found = report(self.history, SITES, Asked(faults=False, outlook=False))
        self.pops = {row["pop"]: row for row in self.found.rows("pops")}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


def test_outages_with_some_use_left_make_no_reserve(planted: Planted) -> None:
    quiet, away = planted.pops["ber1"], planted.pops["ber2"]
    assert away["reserve_largest"] == quiet["reserve_largest"] < 0.05
    assert away["reserve_usual"] == quiet["reserve_usual"]
    assert (quiet["returns"], away["returns"]) == (0, 2 * len(OUTAGES))
    assert 0.01 < away["away_below"] < 0.12, "above what is left, below the night"
    assert quiet["surge_reserve"] == quiet["reserve_usual"] <= quiet["reserve_largest"]


def test_surges_from_a_quiet_night_and_far_above_the_usual_do(planted: Planted) -> None:
    night, far = planted.pops["par"], planted.pops["adl"]
    assert night["reserve_largest"] == pytest.approx(0.421, abs=0.002)
    assert far["reserve_largest"] == pytest.approx(0.893)
    assert night["returns"] == far["returns"] == 0
    assert night["reserve_usual"] < 0.05 > far["reserve_usual"]
    assert night["headroom_95_largest"] < night["headroom_95_usual"] == night["headroom_95"]


def test_who_comes_back_all_the_time_is_not_coming_back(planted: Planted) -> None:
    row = planted.pops["nyc"]
    assert row["returns"] == LEAPS_MAX < (END - BEGIN) // STEP_S // 20
    assert row["reserve_usual"] > 0.4


@pytest.mark.parametrize("name", PLANTED)
def test_minute_by_minute_it_is_the_same(planted: Planted, name: str) -> None:
    surges = Surges()
    for use in planted.uses[name]:
        surges.add(use)
    row = planted.pops[name]
    assert surges.returns == row["returns"]
    assert surges.band().away == pytest.approx(row["away_below"])
    for choice in ("largest", "usual"):
        found = surges.reserve(choice)
        assert found.share == row[f"reserve_{choice}"]
        said = next(
            one
            for one in planted.found.rows("reserves")
            if (one["pop"], one["choice"]) == (name, choice)
        )
        assert said["steps"] == found.steps
        assert said["exceeded"] == pytest.approx(found.exceeded / found.steps)


def test_a_share_that_is_set(tmp_path: Path) -> None:
    rows = damage(draw(MONTHS[:1], every=8))
    asked = Asked(reserve=0.05, faults=False, outlook=False)
    found = report(store(tmp_path, rows), SITES, asked)
    moments = range(BEGIN, MIDDLE, STEP_S)
    pops, said = found.rows("pops"), found.rows("reserves")
    assert found.facts.settings["reserve"] == 0.05
    checked = 0
    for number, row in enumerate(pops, start=1):
        pop = slow.Pop(SITES[number - 1], [one for one in rows if one.pop == number], "out")
        if not pop.sent:
            continue
        true = slow.pop_row(pop, moments, 0.05)
        for name in (name for name in true if "headroom" in name or "reserve" in name):
            assert row[name] == pytest.approx(true[name]), name
        shares = {"share": 0.05}
        shares |= {name: true[f"reserve_{name}"] for name in ("largest", "usual")}
        mine = {one["choice"]: one for one in said if one["pop"] == row["pop"]}
        assert set(mine) == set(shares)
        for choice, reserve in shares.items():
            assert mine[choice]["in_force"] == (choice == "share")
            for name, value in slow.reserve_row(pop, moments, reserve).items():
                assert mine[choice][name] == pytest.approx(value), (row["pop"], choice, name)
                checked += 1
    assert checked > 100
    assert sum(row["returns"] or 0 for row in pops) > 0


def test_the_fleet_by_each_choice(planted: Planted) -> None:
    rows = [one for one in planted.found.rows("reserve_choices") if one["level"] == "fleet"]
    assert [(one["choice"], one["in_force"]) for one in rows] == [
        ("largest", False),
        ("usual", True),
    ]
    for row in rows:
        free = sorted(planted.pops[name][f"headroom_95_{row['choice']}"] for name in PLANTED)
        own = [one for one in planted.found.rows("reserves") if one["choice"] == row["choice"]]
        own = [one for one in own if one["steps"]]
        assert row["pops"] == len(own) == len(PLANTED)
        assert row["p50_headroom_95"] == free[2]
        assert (row["p10_headroom_95"], row["p90_headroom_95"]) == (free[0], free[3])
        assert row["none_95"] == free.count(0.0)
        # All were measured alike, and have their interfaces alone.
        assert row["over_95"] == pytest.approx(sum(one["over_95"] for one in own) / len(own))
        steps = sum(one["steps"] for one in own)
        more = sum(one["exceeded"] * one["steps"] for one in own)
        assert row["exceeded"] == pytest.approx(more / steps)


def test_who_has_no_neighbouring_samples_keeps_a_tenth(tmp_path: Path) -> None:
    rows = [
        Row(1, at, 10**11, 0, 10 * GBIT, *[None] * 4)
        for at in range(BEGIN, BEGIN + 86_400, 2 * STEP_S)
    ]
    found = report(store(tmp_path, rows), SITES, Asked(faults=False, outlook=False))
    row, silent = found.rows("pops")[:2]
    assert row["surge_reserve"] == row["reserve_largest"] == row["reserve_usual"] == 0.1
    assert silent["surge_reserve"] is silent["reserve_usual"] is silent["away_below"] is None


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_a_share_that_cannot_be(planted: Planted, share: float) -> None:
    with pytest.raises(BadPlan, match=r"reserve is .* below 1: say largest, usual or a share"):
        report(planted.history, SITES, Asked(reserve=share))


def test_on_the_command_line(planted: Planted, tmp_path: Path) -> None:
    write_sites(tmp_path / "fleet.csv", SITES)
    plain_words = [str(planted.history.folder), "--no-faults", "--no-outlook"]
    plain_words += ["--fleet", str(tmp_path / "fleet.csv")]

    def say(*words: str) -> Result:
        return CliRunner().invoke(utilisation, [*plain_words, *words])

    bad = say("--reserve", "5%")
    assert bad.exit_code == 2
    assert "'--reserve': reserve is '5%'" in bad.output
    assert "say largest, usual or a share such as 0.05" in bad.output
    done = say("--reserve", "largest", "--parquet", str(tmp_path / "report"))
    assert done.exit_code == 0, done.output
    found = Utilisation.load(tmp_path / "report")
    assert found.facts.settings["reserve"] == "largest"
    words = reserve_words(found)
    assert " ".join(words.split()) in " ".join(done.output.split())
    assert words.startswith("Kept for surges, median PoP, and free in 95 % after it: largest ")
    assert "; usual " in words
    page = " ".join(draw_pages(found).split())
    assert "In force: <b>largest</b>" in page
    assert "With “usual” (the rise that 999 of 1,000 steps stay within) it would be" in page
    assert 'class="spans"' in page
