"""HL7 through the service address: one receiver, in order, one acknowledgement for each send."""

from __future__ import annotations

import pytest
from pair.rig import feeds, nodes


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_feed_goes_to_one_receiver_in_order(family: str) -> None:
    address = nodes.address_of("adt") if family == "v4" else nodes.address6_of("adt")
    with feeds.Feed(address) as feed:
        feed.wait_good(15)
    assert all(line["attempt"] == 1 for line in feed.lines), "nothing is broken, so nothing is sent twice"
    feed.assert_in_order_and_acknowledged()
    assert len(feed.receivers()) == 1, f"an ordered feed was spread over {feed.receivers()}"
