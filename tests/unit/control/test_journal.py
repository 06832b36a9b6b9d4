"""The journal: what is said is kept, and nothing that happens to its file stops rotad."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rota.control.journal import CHECKPOINT, SLICE, WAITING, Journal
from unit.control.clocks import NOON, Hands

Make = Callable[..., Journal]


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def make(tmp_path: Path, hands: Hands) -> Iterator[Make]:
    made: list[Journal] = []

    def build(node: str = "lb1", **more: Any) -> Journal:
        bounds = {"days": 30, "mebibytes": 64, **more}
        made.append(Journal(tmp_path / f"{node}.db", node, hands.clock, **bounds))
        return made[-1]

    yield build
    for journal in made:
        journal.close()


def fill(journal: Journal, count: int, **fields: Any) -> None:
    for number in range(count):
        journal.record(kind="verdict", service="pacs", member=f"m{number}", before="up", after="down", **fields)


def test_a_service_with_what_is_about_none(make: Make, hands: Hands) -> None:
    journal = make()
    for service in ("adt", None, "pacs", "adt"):
        journal.record(kind="verdict", service=service, after=str(service))
        hands.pass_(60)
    for _ in ("waiting", "written"):
        assert [e.after for e in journal.query(service="adt")] == ["adt", "adt"]
        assert [e.after for e in journal.query(service="adt", general=True)] == ["adt", "None", "adt"]
        assert [e.after for e in journal.query(general=True)] == ["adt", "None", "pacs", "adt"]
        journal.flush()


def test_events_come_back_by_time_with_both_ends(make: Make, hands: Hands) -> None:
    journal = make()
    for number in range(5):
        journal.record(kind="verdict", service="pacs" if number % 2 else "adt", after=str(number))
        hands.pass_(60)
    assert [e.after for e in journal.query()] == list("01234")
    journal.flush()
    assert [e.after for e in journal.query()] == list("01234")
    assert [e.after for e in journal.query(NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))] == list("123")
    assert [e.after for e in journal.query(service="adt")] == list("024")
    assert [e.after for e in journal.query(limit=2)] == list("34")


def test_what_waits_is_among_the_answers_once(make: Make) -> None:
    journal = make()
    journal.record(kind="rotad", after="one")
    journal.flush()
    journal.record(kind="rotad", after="two")
    assert [e.after for e in journal.query()] == ["one", "two"]
    assert len({e.id for e in journal.query()}) == 2


def test_a_reader_beside_the_loop_sees_each_event_once(make: Make) -> None:
    """What waits when it is asked for may be in the file, too, by the time that the thread reads."""
    journal = make()
    fill(journal, 3)
    journal.flush()
    fill(journal, 2)
    read = journal.reader(None, None, "pacs", 4)
    journal.flush()
    assert [e.member for e in read()] == ["m1", "m2", "m0", "m1"]
    assert [e.id for e in read()] == [e.id for e in journal.query(limit=4)] == [2, 3, 4, 5]


def test_a_reader_that_finds_no_journal_says_so(make: Make, tmp_path: Path) -> None:
    journal = make()
    read = journal.reader(None, None, None, 4)
    (tmp_path / "lb1.db").unlink()
    with pytest.raises(sqlite3.Error):
        read()


def test_a_restart_goes_on_with_numbers_and_says_when_it_lived(make: Make, hands: Hands) -> None:
    journal = make()
    fill(journal, 3)
    journal.alive()
    journal.flush()
    journal.close()
    hands.pass_(100)
    again = make()
    assert again.last_alive == NOON
    again.record(kind="rotad", after="started")
    again.flush()
    assert [e.id for e in again.query()] == [1, 2, 3, 4]
    assert again.vector() == {f"lb1/{again.era}": 4}
    assert again.era == journal.era


@pytest.mark.parametrize("harm", ["text", "hole", "cut", "header"])
def test_a_damaged_file_is_set_aside_and_begun_anew(make: Make, tmp_path: Path, harm: str) -> None:
    journal = make()
    fill(journal, 2000)
    journal.flush()
    journal.close()
    file = tmp_path / "lb1.db"
    data = bytearray(file.read_bytes())
    if harm == "text":
        data = bytearray(b"this is no database, and never was one " * 100)
    elif harm == "hole":
        data[4096:60000] = b"\xff" * (60000 - 4096)
    elif harm == "cut":
        del data[len(data) // 2 :]
    else:
        data[:100] = bytes(100)
    file.write_bytes(data)
    again = make()
    assert again.damage is not None
    assert "set aside as lb1.db.damaged-20260504T120000Z" in again.damage
    assert (tmp_path / "lb1.db.damaged-20260504T120000Z").read_bytes() == data
    again.record(kind="rotad", after="damage")
    assert again.flush()
    assert [e.after for e in again.query()] == ["damage"]
    assert again.era != journal.era


def test_damage_under_way_loses_nothing_that_waits(make: Make, tmp_path: Path) -> None:
    journal = make()
    fill(journal, 2000)
    journal.flush()
    era = journal.era
    assert journal._db is not None
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the file itself is up to date now
    journal._db.execute("PRAGMA cache_size=1")
    journal._db.execute("PRAGMA shrink_memory")  # nothing of it is in memory
    with (tmp_path / "lb1.db").open("r+b") as file:
        file.seek(0)
        file.write(b"\xff" * 200_000)
    journal.record(kind="rotad", after="one")
    for _ in range(3):
        if journal.flush():
            break
        journal.record(kind="rotad", after="more")
    assert journal.damage is not None
    assert journal.era != era  # or the peer would take the next events for those that it has
    assert "one" in [e.after for e in journal.query()]


def test_a_full_disk_is_survived_and_caught_up(make: Make) -> None:
    journal = make()
    fill(journal, 10)
    journal.flush()
    db = journal._db  # the disk ends here
    assert db is not None
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    fill(journal, 500, reason="x" * 200)
    assert not journal.flush()
    assert journal.problem == "the journal cannot be written: database or disk is full"
    assert journal.waiting == 500
    assert len(journal.query(limit=1000)) == 510
    db.execute("PRAGMA max_page_count=100000")
    assert journal.flush()
    assert journal.problem is None
    assert len(journal.query(limit=1000)) == 510


def test_memory_is_bounded_while_the_disk_is_full(make: Make) -> None:
    journal = make()
    db = journal._db
    assert db is not None
    db.execute("PRAGMA query_only=1")
    fill(journal, WAITING + 7)
    assert not journal.flush()
    assert (journal.waiting, journal.lost) == (WAITING, 7)


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path, hands: Hands) -> None:
    journal = Journal(tmp_path / "later/j.db", "lb1", hands.clock, days=1, mebibytes=1)
    journal.record(kind="rotad", after="one")
    assert not journal.flush()
    (tmp_path / "later").mkdir()
    assert journal.flush()
    assert [e.after for e in journal.query()] == ["one"]
    journal.close()


def test_bounded_by_size(make: Make, tmp_path: Path) -> None:
    journal = make(mebibytes=1)
    for _ in range(30):
        fill(journal, 1000, reason="x" * 180)
        save(journal)
    sizes = []
    while removed := journal.prune(by_age=False):
        sizes.append(removed)
        save(journal)
    assert sizes == [SLICE] * len(sizes)  # so that nothing waits long for it
    assert len(sizes) > 5
    assert (tmp_path / "lb1.db").stat().st_size < 1.1 * 2**20
    assert (tmp_path / "lb1.db-wal").stat().st_size < 2 * CHECKPOINT + 2**20
    left = journal.query(limit=30_000)
    assert 1000 < len(left) < 8000
    assert left[-1].id == 30_000  # the newest stay


def test_bounded_by_age_but_only_with_a_steady_clock(make: Make, hands: Hands) -> None:
    journal = make(days=10)
    fill(journal, 5)
    journal.flush()
    hands.jump(86400 * 400)
    assert journal.prune(by_age=False) == 0
    assert len(journal.query()) == 5
    assert journal.prune(by_age=True) == 5
    # and the peer does not bring back what was forgotten
    assert journal.vector() == {f"lb1/{journal.era}": 5}


def save(journal: Journal) -> None:
    journal.flush()
    assert journal.sync() is None


def test_a_disk_that_takes_nothing_is_said_and_nothing_is_given_away(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = make("lb1"), make("lb2")
    fill(one, 3)
    one.flush()
    with monkeypatch.context() as broken:
        broken.setattr("os.fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        assert "Input/output error" in (one.sync() or "")
    assert give(one, two) == 0
    assert one.sync() is None
    assert give(one, two) == 3


def test_the_log_of_sqlite_stays_short(make: Make, tmp_path: Path) -> None:
    journal = make()
    for _ in range(12):
        fill(journal, 1500, reason="x" * 190)
        save(journal)
    assert (tmp_path / "lb1.db-wal").stat().st_size < 3 * CHECKPOINT
    assert (tmp_path / "lb1.db").stat().st_size > CHECKPOINT


def give(source: Journal, target: Journal, limit: int = 500) -> int:
    rows = source.after(target.vector(), limit)
    return len(target.take(rows))


def test_events_reach_the_other_node_once(make: Make) -> None:
    one, two = make("lb1"), make("lb2")
    fill(one, 1200)
    save(one)
    assert [give(one, two), give(one, two), give(one, two), give(one, two)] == [500, 500, 200, 0]
    assert [(e.node, e.member) for e in two.query(limit=2000)] == [("lb1", f"m{n}") for n in range(1200)]
    assert give(two, one) == 0


def test_events_that_only_wait_are_not_given_away(make: Make) -> None:
    """Their numbers could be used again after a crash, for other events, which the peer would then never take."""
    one, two = make("lb1"), make("lb2")
    fill(one, 3)
    assert give(one, two) == 0
    one.flush()
    assert give(one, two) == 0, "the loss of power could undo them still"
    assert one.sync() is None
    assert give(one, two) == 3


def test_the_peer_gives_back_what_a_damaged_journal_lost(make: Make, tmp_path: Path) -> None:
    one, two = make("lb1"), make("lb2")
    fill(one, 20)
    save(one)
    give(one, two)
    one.close()
    (tmp_path / "lb1.db").write_bytes(b"gone" * 2000)
    again = make("lb1")
    fill(again, 4)
    save(again)
    assert give(two, again) == 20
    assert give(again, two) == 4
    assert len(again.query()) == len(two.query()) == 24


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(acts=st.lists(st.sampled_from(["one", "two", "flush", "->", "<-", "cut", "restart", "back"]), max_size=25))
def test_both_journals_agree_after_any_partition(tmp_path: Path, acts: list[str]) -> None:
    for old in tmp_path.glob("p*"):
        old.unlink()
    hands = Hands()
    journals = {n: Journal(tmp_path / f"p{n}.db", n, hands.clock, days=9, mebibytes=9) for n in ("lb1", "lb2")}
    try:
        for act in acts:
            one, two = journals.values()
            if act in ("one", "two"):
                journals["lb1" if act == "one" else "lb2"].record(kind="rotad", after=str(len(acts)))
            elif act == "flush":
                save(one)
            elif act == "->":
                give(one, two)
            elif act == "<-":
                give(two, one)
            elif act == "cut":
                one.after(two.vector(), 2)  # sent, and lost on the way
            elif act == "back":
                hands.jump(-5000)
            else:
                one.flush()
                one.close()
                journals["lb1"] = Journal(tmp_path / "plb1.db", "lb1", hands.clock, days=9, mebibytes=9)
        one, two = journals.values()
        save(one)
        save(two)
        while give(one, two) + give(two, one):
            pass

        def seen(journal: Journal) -> list[tuple[Any, ...]]:
            return sorted((e.node, e.at, e.after) for e in journal.query(limit=1000))

        assert seen(one) == seen(two)
        assert len(seen(one)) == acts.count("one") + acts.count("two")
    finally:
        for journal in journals.values():
            journal.close()


@pytest.mark.parametrize(
    "row",
    [
        [],
        ["x"] * 11,
        [1, "lb1", "era", "no", *[None] * 7],
        [1, "lb1", "era", 1, "nonsense", *[None] * 6],
        [1, "lb1", 5, 1, "rotad", *[None] * 6],
    ],
)
def test_garbage_from_a_peer_is_no_event(make: Make, row: list[Any]) -> None:
    journal = make()
    with pytest.raises(ValueError):  # noqa: PT011 (pydantic's, and its own)
        journal.take([row])
    assert journal.query() == []


def test_a_hundred_thousand_events_are_asked_quickly(make: Make, hands: Hands) -> None:
    journal = make()
    for start in range(0, 100_000, 5000):
        for number in range(start, start + 5000):
            journal.record(
                kind="verdict", service=f"s{number % 50}", member="a", before="up", after="down", reason="refused"
            )
        hands.pass_(60)
        journal.flush()
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        assert len(journal.query(NOON, service="s7", limit=1000)) == 1000
        assert len(journal.query(NOON + timedelta(minutes=5), NOON + timedelta(minutes=15), limit=1000)) == 1000
        best = min(best, time.perf_counter() - began)
    assert best < 0.2


def test_a_committed_event_survives_a_crash(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = make()
    fill(journal, 3)
    synced: list[str] = []
    real = os.fdatasync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr("os.fdatasync", noted)
    journal.flush()
    assert synced == [], "the event loop does not wait for the disk"
    assert journal.sync() is None
    assert synced == [str(tmp_path / "lb1.db-wal")]
    # another reader sees it without the writer's end
    other = sqlite3.connect(tmp_path / "lb1.db")
    assert other.execute("SELECT count(*) FROM events").fetchone() == (3,)
    other.close()
