"""The figures of the demonstration follow from what the client saw, and a failed run can be told from a good one."""

import json

import pytest

from demo.record import Fault, Record


def record(*times: float, faults: tuple[float, ...] = ()) -> Record:
    made = Record(faults=[Fault(at, f"fault at {at}") for at in faults])
    for number, at in enumerate(times):
        made.take(json.dumps({"at": at, "event": "stored", "file": f"{number}.dcm", "attempt": 1}))
    return made


def test_a_gap_belongs_to_the_fault_that_it_follows():
    made = record(10.0, 10.1, 10.3, 11.5, 11.6, faults=(10.15, 10.4))
    assert made.gap_after(made.faults[0]) == pytest.approx(0.2)
    assert made.gap_after(made.faults[1]) == pytest.approx(1.2)
    assert made.longest_gap(0, 10.15) == pytest.approx(0.1)


def test_a_gap_is_cut_where_the_next_fault_begins():
    made = record(10.0, 10.1, 12.0, faults=(10.1, 11.0))
    assert made.gap_after(made.faults[0]) == pytest.approx(0.9)


def test_an_instance_that_was_sent_again_counts_once():
    made = record(1.0)
    made.take(json.dumps({"at": 2.0, "event": "failed", "why": "Connection refused", "again": 2}))
    made.take(json.dumps({"at": 3.0, "event": "stored", "file": "again.dcm", "attempt": 3}))
    assert made.resent == {"again.dcm": 2}
    assert [why for _, why in made.failures] == ["Connection refused"]
    assert len(made.stored) == 2
    assert not made.gave_up


def test_giving_up_is_kept():
    made = record(1.0)
    made.take(json.dumps({"at": 99.0, "event": "gave-up", "left": 7}))
    assert made.gave_up
