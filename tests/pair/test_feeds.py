"""HL7 through the service address: one receiver, in order, one acknowledgement for each send."""

from __future__ import annotations

import pytest
from pair.rig import feeds, nodes


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("family", ["v4", "v6"])
def test_feeds_go_to_one_receiver_in_order(family: str) -> None:
    """Two senders, because one connection has one receiver anyhow: a balancer that spreads gives them one each."""
    address = nodes.address_of("adt") if family == "v4" else nodes.address6_of("adt")
    with feeds.Feed(address) as one, feeds.Feed(address) as two:
        one.wait_good(15)
        two.wait_good(15)
    for feed in (one, two):
        assert all(line["attempt"] == 1 for line in feed.lines), "nothing is broken, so nothing is sent twice"
        feed.assert_in_order_and_acknowledged()
    assert len({*one.receivers(), *two.receivers()}) == 1, f"spread over {one.receivers()} and {two.receivers()}"
