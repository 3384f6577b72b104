"""Who stands still is told once, and nobody for a keeper that slept."""

from __future__ import annotations

import pytest

from selvedge.pop.pulse import Pulse


def test_a_count_that_stays_is_told_once() -> None:
    pulse = Pulse(3)
    told = [pulse.look({7: 5, 8: number}) for number in range(8)]
    assert told == [[], [], [], [7], [], [], [], []]


def test_one_that_goes_on_is_never_told_and_begins_anew_when_it_stops() -> None:
    pulse = Pulse(2)
    counts = [1, 2, 2, 3, 3, 3, 4, 4, 4]
    assert [pulse.look({7: one}) for one in counts] == [[], [], [], [], [], [7], [], [], [7]]


def test_another_process_has_a_time_of_its_own() -> None:
    pulse = Pulse(2)
    assert [pulse.look({7: 0}), pulse.look({7: 0}), pulse.look({9: 0}), pulse.look({9: 0})] == [
        [],
        [],
        [],
        [],
    ]
    assert pulse.look({9: 0}) == [9]


def test_at_least_one_look() -> None:
    with pytest.raises(ValueError, match="looks_max"):
        Pulse(0)
