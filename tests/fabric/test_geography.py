"""Distances against published ones, and round trips against what the cables allow."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric.geography import EARTH_RADIUS_KM, WanModel, great_circle_km

SINGAPORE = (1.3521, 103.8198)
JAKARTA = (-6.2088, 106.8456)
FRANKFURT = (50.1109, 8.6821)

places = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        ((0.0, 0.0), (0.0, 0.0), 0.0),
        ((0.0, 0.0), (0.0, 180.0), math.pi * EARTH_RADIUS_KM),
        ((90.0, 0.0), (-90.0, 77.0), math.pi * EARTH_RADIUS_KM),
        ((0.0, 0.0), (0.0, 90.0), math.pi / 2 * EARTH_RADIUS_KM),
        ((0.0, 179.5), (0.0, -179.5), math.radians(1) * EARTH_RADIUS_KM),
        ((36.12, -86.67), (33.94, -118.40), 2886.45),  # Nashville to Los Angeles airports
        (SINGAPORE, JAKARTA, 905.0),
        (SINGAPORE, FRANKFURT, 10_260.0),
        (JAKARTA, FRANKFURT, 11_115.0),
    ],
)
def test_known_distances(a: tuple[float, float], b: tuple[float, float], km: float) -> None:
    assert great_circle_km(*a, *b) == pytest.approx(km, rel=2e-3, abs=1e-9)


@given(places, places, places)
def test_distance_is_a_metric(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]
) -> None:
    ab = great_circle_km(*a, *b)
    assert great_circle_km(*a, *a) == 0
    assert ab == great_circle_km(*b, *a)
    assert 0 <= ab <= math.pi * EARTH_RADIUS_KM * (1 + 1e-12)
    assert great_circle_km(*a, *c) <= ab + great_circle_km(*b, *c) + 1e-3


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        (SINGAPORE, JAKARTA, 14, 18),
        (SINGAPORE, FRANKFURT, 150, 175),
        (JAKARTA, FRANKFURT, 165, 190),
    ],
)
def test_round_trips_are_those_of_the_cables(
    a: tuple[float, float], b: tuple[float, float], low: float, high: float
) -> None:
    assert low <= WanModel().rtt_ms(a, b) <= high


def test_light_in_fibre_and_the_fixed_part() -> None:
    assert WanModel().fibre_km_per_ms == pytest.approx(204.2, abs=0.05)
    assert WanModel(fixed_ms=2.5).rtt_ms(SINGAPORE, SINGAPORE) == 2.5
    straight = WanModel(fibre_km_per_ms=200, path_inflation=1, fixed_ms=0)
    assert straight.rtt_ms((0, 0), (0, 90)) == pytest.approx(100.075, abs=1e-3)


@pytest.mark.parametrize(
    "place", [(90.1, 0), (-91, 0), (0, 180.5), (0, -181), (math.nan, 0), (0, math.inf)]
)
def test_a_place_off_the_earth_is_refused(place: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not a place on Earth"):
        great_circle_km(0, 0, *place)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fibre_km_per_ms": 0},
        {"fibre_km_per_ms": 300},
        {"fibre_km_per_ms": math.nan},
        {"path_inflation": 0.99},
        {"path_inflation": math.inf},
        {"fixed_ms": -0.1},
        {"fixed_ms": math.nan},
    ],
)
def test_an_impossible_network_cannot_be_built(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WanModel(**wrong)
