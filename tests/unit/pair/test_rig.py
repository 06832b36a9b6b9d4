"""The pair's witnesses can tell good from bad: what would make each of them lie is shown to it here."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pair.rig import client, nodes, rollout
from pair.rig.feeds import Feed
from pair.rig.watch import _EVENT, FAREWELL, Event, HolderWatch

ADDRESS = "198.51.100.100"


def watch(*events: tuple[float, str, bool]) -> HolderWatch:
    """A witness that has seen lb1 and lb2 get (True) or lose (False) the address, so many seconds ago."""
    seen = HolderWatch([ADDRESS])
    seen.events = [Event(time.time() - ago, node, ADDRESS, held) for ago, node, held in events]
    return seen


def test_a_hand_over_is_no_split_brain() -> None:
    assert watch((9, "lb1", True), (5, "lb1", False), (4, "lb2", True)).overlaps() == []
    assert watch((9, "lb1", True), (5, "lb2", True), (5 - FAREWELL / 2, "lb1", False)).overlaps() == []


def test_two_holders_are_found() -> None:
    (found,) = watch((9, "lb1", True), (5, "lb2", True), (4, "lb1", False)).overlaps()
    assert "['lb1', 'lb2'] for 1.0" in found
    assert watch((9, "lb1", True), (5, "lb2", True)).overlaps(), "an overlap that lasts until now"


def test_the_kernel_s_own_words_are_understood() -> None:
    """As iproute2 6.15 prints them: `ip -tshort -oneline monitor address`."""
    came = _EVENT.match(
        "[2026-11-24T04:09:13.353630] 2: eth0    inet 198.51.100.100/24 scope global eth0\\   valid_lft forever"
    )
    assert came is not None
    assert (came["address"], came["deleted"]) == (ADDRESS, None)
    left = _EVENT.match("[2026-11-24T04:09:13.357848] Deleted 2: eth0    inet6 2001:db8:51::100/64 scope global nodad \\")
    assert left is not None
    assert left["deleted"]
    assert left["address"] == "2001:db8:51::100"


def feed(sends: list[tuple[int, list[str]]], arrived: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> Feed:
    """A feed whose messages (by number) were answered so, and arrived so: number, receiver."""
    made = Feed.__new__(Feed)
    made.prefix = "F"
    made.lines = [{"id": f"F{number:04d}", "acks": acks} for number, acks in sends]
    rows: list[dict[str, Any]] = [
        {"control_id": f"F{number:04d}", "receiver": receiver, "time": when}
        for when, (number, receiver) in enumerate(arrived)
    ]
    monkeypatch.setattr(made, "records", lambda: rows)
    return made


def test_a_feed_that_was_cut_once_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Message 2 reached the first receiver, its answer was lost, and it was sent again to the second."""
    sends: list[tuple[int, list[str]]] = [(1, ["AA F0001"]), (2, []), (2, ["AA F0002"]), (3, ["AA F0003"])]
    made = feed(sends, [(1, "hl7-a"), (2, "hl7-a"), (2, "hl7-b"), (3, "hl7-b")], monkeypatch)
    made.assert_in_order_and_acknowledged()
    assert made.receivers() == ["hl7-a", "hl7-b"]


@pytest.mark.parametrize(
    ("sends", "arrived", "words"),
    [
        ([(1, ["AA F0002"])], [(1, "hl7-a")], "wrong acknowledgement"),
        ([(1, ["AA F0001", "AA F0001"])], [(1, "hl7-a")], "wrong acknowledgement"),
        ([(1, ["AE F0001"])], [(1, "hl7-a")], "wrong acknowledgement"),
        ([(1, []), (2, ["AA F0002"])], [(2, "hl7-a")], "never acknowledged"),
        ([(1, ["AA F0001"]), (1, ["AA F0001"])], [(1, "hl7-a")], "acknowledged twice"),
        ([(1, ["AA F0001"]), (2, ["AA F0002"])], [(2, "hl7-a"), (1, "hl7-b")], "out of order"),
        ([(1, ["AA F0001"])], [], "that no receiver has"),
        ([(1, ["AA F0001"])], [(1, "hl7-a"), (1, "hl7-b")], "more often than sent"),
    ],
)
def test_a_feed_that_lost_or_mixed_something_is_not(
    sends: list[tuple[int, list[str]]], arrived: list[tuple[int, str]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = feed(sends, arrived, monkeypatch)
    with pytest.raises(AssertionError, match=words):
        made.assert_in_order_and_acknowledged()


def test_the_longest_gap_is_between_two_successes() -> None:
    lines = [{"ended": when, "ok": ok} for when, ok in [(1.0, True), (2.0, True), (3.0, False), (4.5, True), (4.6, True)]]
    assert client.longest_gap(lines, since=2.0) == 2.5
    with pytest.raises(AssertionError, match="nothing went well"):
        client.longest_gap(lines, since=9.0)


@pytest.mark.parametrize("lost", [("lb1", "lb2"), ()], ids=["two", "none"])
def test_two_holders_and_none_both_fail(lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "holders", lambda address: list(lost))
    with pytest.raises(AssertionError, match=ADDRESS):
        nodes.held_once(ADDRESS)


def test_only_the_rollout_s_own_play_counts_as_touching_a_node() -> None:
    out = "\nPLAY [Judge the site] ***\nok: [lb2]\n\nPLAY [Roll out, one node after the other] ***\nok: [lb1]\nchanged: [lb1]\n"
    assert rollout.Run(0, out, 1.0).order == ["lb1"]


def test_an_output_with_colours_is_not_taken_for_an_untouched_node() -> None:
    """Molecule turns colours on: with them no node would ever seem touched, and the test of that could not fail."""
    coloured = "\nPLAY [Roll out, one node after the other] ***\n\x1b[0;32mok: [lb1]\x1b[0m\n"
    with pytest.raises(AssertionError, match="colours"):
        _ = rollout.Run(0, coloured, 1.0).order
