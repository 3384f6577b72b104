"""What the operator's own tenant asks is a probe: its receipt says so, and bills nothing."""

from __future__ import annotations

import msgspec
import pytest

from selvedge.exchange.drafts import open_receipt
from selvedge.fabric import PROBE_TENANT, DataClass, Key, Outcome, Refused, Tenant, Usage
from selvedge.ledger import hash_secret, settle, write_key
from tests.support.fleets import PEPPER, bearer, make_head, make_release, make_view


def test_the_purpose_is_of_the_tenant() -> None:
    release = make_release()
    tenant = Tenant(PROBE_TENANT, (DataClass("default", "world", "transit-allowed"),))
    key = Key("probe", PROBE_TENANT, "default", hash_secret(PEPPER, "probe", "s"))
    release = msgspec.structs.replace(
        release, tenants=(*release.tenants, tenant), keys=(*release.keys, key)
    )
    view = make_view("sin", release)
    used = Usage(input_uncached=3, output=4, provenance="reported")
    for head, purpose, row in (
        (make_head(f"Bearer {write_key('probe', 's')}"), "probe", "probe"),
        (make_head(bearer("free")), "request", "complete"),
    ):
        admitted = view.keyring.admit(head.authorization, head.received_us)
        assert not isinstance(admitted, Refused)
        receipt = open_receipt(head, view, admitted)
        assert receipt.purpose == purpose
        done = msgspec.structs.replace(receipt, outcome=Outcome.COMPLETE, usage=used)
        assert settle(done).row == row
        assert (settle(done).billed == used) == (purpose == "request")


@pytest.mark.parametrize("purpose", ["batch", "probe"])
def test_other_purposes_are_the_heads(purpose: str) -> None:
    view = make_view("sin")
    head = make_head(bearer("free"), purpose=purpose)
    admitted = view.keyring.admit(head.authorization, head.received_us)
    assert not isinstance(admitted, Refused)
    assert open_receipt(head, view, admitted).purpose == purpose
