"""A view is a release compiled for one PoP; secrets do not show."""

from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from selvedge.exchange import Secrets, compile_view
from tests.support.fleets import IDLE, PEPPER, RELEASE_HASH, make_release, make_view, pair_key


def test_a_view() -> None:
    release = make_release()
    view = make_view("sin", release)
    assert (view.release, view.release_hash, view.here) == (release, RELEASE_HASH, release.pops[0])
    assert set(view.models) == {"chat", "embed"}
    assert view.pair_keys["fra"] == pair_key("fra", "sin")
    assert view.routes.rtt_us("sin") == 0
    assert view.load is IDLE


def test_a_release_that_lacks_this_pop() -> None:
    with pytest.raises(KeyError):
        compile_view(make_release(), RELEASE_HASH, "nowhere", Secrets(PEPPER, {}), IDLE)


def test_secrets_do_not_show() -> None:
    secrets = Secrets(PEPPER, {"fra": b"CANARY"})
    view = compile_view(make_release(), RELEASE_HASH, "sin", secrets, IDLE)
    for shown in (repr(secrets), str(secrets), pretty_repr(secrets), repr(view), str(view)):
        assert "CANARY" not in shown
        assert "pepper" not in shown
    assert repr(view) == "FleetView(example version 7)"
