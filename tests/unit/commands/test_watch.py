from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from rota.commands import watch
from rota.control import client
from rota.control.client import Rotad as Client
from rota.control.client import Silent
from rota.control.state import Event
from unit.api.double import NOON
from unit.commands.conftest import Rotad, Run
from unit.commands.test_act import association


def event(number: int, service: str = "pacs", at: datetime | None = None) -> Event:
    return Event(
        id=number, at=at or NOON + timedelta(seconds=number), node="lb1", kind="verdict", service=service, member="pacs-b",
        before="up", after="down", reason="silent: no association",
    )  # fmt: skip


def test_who_is_connected(rotad: Rotad, run: Run) -> None:
    rotad.double.open = [association(), association("198.51.100.60:99", calling_ae=None, called_ae=None, service="hl7")]
    ran = run("who", "pacs")
    assert ran.code == 0
    assert "198.51.100.51:4711  CT_1" in ran.out
    assert "1 min" in ran.out
    assert "1.2 MB" in ran.out
    assert ran.out.splitlines()[-1] == "1 open"
    assert run("who").out.splitlines()[-1] == "2 open"
    assert [a["calling_ae"] for a in json.loads(run("who", "--json").out)] == [None, "CT_1"]


def test_who_says_what_it_cannot_see(rotad: Rotad, run: Run) -> None:
    rotad.double.peer_fit = False
    assert "lb2 does not answer: what goes through it is unknown" in run("who").out


def test_who_of_an_unknown_service(rotad: Rotad, run: Run) -> None:
    assert "no service 'x'" in run("who", "x").err


def test_events_in_lines(rotad: Rotad, run: Run) -> None:
    rotad.double.journal = [event(1)]
    (line,) = run("events").out.splitlines()
    assert "lb1  verdict   pacs/pacs-b  up → down  silent: no association" in line


def test_events_of_a_time_and_a_service(rotad: Rotad, run: Run) -> None:
    now = datetime.now(UTC)
    rotad.double.journal = [event(n, ("pacs", "hl7")[n % 2], now - timedelta(minutes=60 - n)) for n in range(60)]
    lines = run("events", "--since", "30m", "--service", "hl7", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(31, 60, 2))
    assert len(run("events").out.splitlines()) == 50, "without --since, the newest"
    assert len(run("events", "-n", "3").out.splitlines()) == 3


@pytest.mark.parametrize(
    "argv", [["--since", "soon"], ["--follow", "--until", "1h"], ["--since", "1h", "--until", "2h"], ["-n", "0"]]
)
def test_a_wrong_time_is_said(rotad: Rotad, run: Run, argv: list[str]) -> None:
    ran = run("events", *argv)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1


def test_a_long_journal_comes_in_pages(rotad: Rotad, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page ends where the one before began, at one instant, whose events both may hold."""
    monkeypatch.setattr(client, "PAGE", 7)
    rotad.double.journal = [event(n, at=NOON + timedelta(seconds=n // 3)) for n in range(50)]
    assert [e.id for e in Client(rotad.path).events()] == list(range(50))
    assert [e.id for e in Client(rotad.path).events(limit=20)] == list(range(30, 50))
    assert [e.id for e in Client(rotad.path).events(NOON + timedelta(seconds=10))] == list(range(30, 50))


def test_follow_shows_each_event_once_over_a_restart(rotad: Rotad) -> None:
    rotad.double.journal = [event(1), event(2)]
    stream = watch.following(Client(rotad.path), None, None, 50)
    assert [e.id for e in itertools.islice(stream, 2)] == [1, 2]
    rotad.soon(rotad.double.tell, event(3))
    assert next(stream).id == 3
    rotad.stop()
    rotad.double.journal.append(event(4))  # written while nobody could listen
    rotad.start()
    assert next(stream).id == 4
    rotad.soon(rotad.double.tell, event(5))
    assert next(stream).id == 5


def test_follow_gives_up_on_a_rotad_that_stays_away(rotad: Rotad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    rotad.stop()
    began = time.monotonic()
    with pytest.raises(Silent, match="is rota-control running"):
        next(watch.following(Client(rotad.path), None, None, 50))
    assert time.monotonic() - began < 5


def test_follow_of_one_service(rotad: Rotad) -> None:
    rotad.double.journal = [event(1, "hl7"), event(2)]
    stream = watch.following(Client(rotad.path), None, "pacs", 50)
    assert next(stream).id == 2
    rotad.soon(rotad.double.tell, event(3, "hl7"))
    rotad.soon(rotad.double.tell, event(4))
    assert next(stream).id == 4
