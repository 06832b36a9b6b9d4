"""The register of maintenance windows: two nodes keep the same ones, whatever the order, and a damaged file is said."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rota.control.asked import WindowBody
from rota.control.state import IntentState, Window, WindowPhase
from rota.control.windows import KEPT, WindowStore
from unit.control.clocks import NOON, Hands
from unit.control.test_windows import request

DRAIN, OVER = IntentState.DRAIN, WindowPhase.OVER


def windows() -> st.SearchStrategy[Window]:
    """Few ids, counters and nodes, so that most collide."""
    return st.builds(
        Window, id=st.sampled_from(["00000a", "00000b"]), member=st.just("a"), service=st.none(), state=st.just(DRAIN),
        starts=st.just(NOON), until=st.just(NOON), reason=st.sampled_from(["patching", "a disk"]), person=st.just("ann"),
        force=st.booleans(), phase=st.sampled_from(WindowPhase), outcome=st.none(), at=st.just(NOON),
        counter=st.integers(0, 3), node=st.sampled_from(["lb1", "lb2"]),
    )  # fmt: skip


@given(st.lists(windows(), max_size=10), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_come_to_the_same(found: list[Window], random: Any) -> None:
    one, two = (WindowStore(Path("/nowhere"), node, Hands().clock) for node in ("lb1", "lb2"))
    one.merge(found)
    shuffled = [*found, *found[: len(found) // 2]]
    random.shuffle(shuffled)
    for window in shuffled:
        two.merge([window])
    assert one.all() == two.all()
    assert one.digest() == two.digest()


def test_both_keep_the_same_ones_of_many_that_have_been() -> None:
    def past(number: int) -> Window:
        at = NOON + timedelta(days=number)
        return Window(
            id=f"{number:06x}", member="a", service=None, state=DRAIN, starts=at, until=at, reason="patching", person="ann",
            force=False, phase=OVER, outcome=None, at=at, counter=number, node="lb1",
        )  # fmt: skip

    one, two = (WindowStore(Path("/nowhere"), node, Hands().clock) for node in ("lb1", "lb2"))
    found = [past(n) for n in range(KEPT + 30)]
    one.merge(found)
    for window in reversed(found):
        two.merge([window])
    assert one.all() == two.all() == found[-KEPT:]
    assert two.merge(found[:30]) == [] or two.all() == one.all()


@pytest.mark.parametrize("text", ["", "[{", '[{"id": "x"}]'])
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.json").write_text(text)
    store = WindowStore(tmp_path / "w.json", "lb1", Hands().clock)
    assert (store.damage or "").startswith("the windows were damaged")
    assert [p.read_text() for p in tmp_path.glob("w.json.damaged-*")] == [text]


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        WindowBody.model_validate(request().model_dump() | {"starts": datetime(2026, 5, 4, 13).isoformat()})
