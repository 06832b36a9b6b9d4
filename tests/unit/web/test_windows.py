"""Maintenance windows on the pages: planned, shown, called off; and every form says in words what is wrong."""

from __future__ import annotations

import io
import re
import tarfile
from datetime import datetime, timedelta
from typing import Any

import pytest
from rota.control.state import IntentState, Status, Window, WindowPhase
from rota.web.auth.people import Role
from rota.web.views import bundle, upkeep, words
from rota.web.views.overview import overview
from unit.api.double import NOON, Double
from unit.web.conftest import Rotad, SignIn
from unit.web.test_views import reading

MEMBER = "/maintenance/member/pacs-a"
ASKED = {"state": "drain", "service": "pacs", "reason": "patching", "from": "2h", "until": "3h"}


def window(number: int = 1, phase: WindowPhase = WindowPhase.PLANNED, **more: Any) -> Window:
    fields: dict[str, Any] = {
        "id": f"{number:06x}", "member": "pacs-b", "service": "pacs", "state": IntentState.DRAIN,
        "starts": NOON + timedelta(days=number), "until": NOON + timedelta(days=number, hours=2), "reason": "patching",
        "person": "anna", "force": False, "phase": phase, "outcome": None, "at": NOON, "counter": number, "node": "lb1",
    }  # fmt: skip
    return Window.model_validate(fields | more)


def test_a_window_is_reviewed_planned_shown_and_called_off(as_: SignIn, rotad: Rotad) -> None:
    operator = as_(Role.OPERATOR)
    review = operator.send(MEMBER, **ASKED)
    assert "Plan: drain pacs-a?" in review.text
    assert "What it would mean now" in review.text
    assert "if nobody else serves, it is skipped and an alarm says so" in review.text
    assert rotad.double.windows == []
    sent = dict(re.findall(r'name="(from|until)" value="([^"]+)"', review.text))  # exact: what was said is what is done
    assert datetime.fromisoformat(sent["until"]) - datetime.fromisoformat(sent["from"]) == timedelta(hours=3)
    done = operator.send(f"{MEMBER}/do", **ASKED | sent)
    assert (done.status_code, done.headers["Location"]) == (302, "/maintenance/")
    (planned,) = rotad.double.windows
    assert planned.until - planned.starts == timedelta(hours=3)
    assert rotad.double.services[0].members[0].intent is None  # nothing is done yet
    page = operator.get("/maintenance/").text
    assert "Planned: drain of pacs-a in pacs" in page
    assert words.window_time(planned) in page
    assert f"planned: drain {words.window_time(planned)}" in operator.get("/").text
    assert "needs another look" in operator.send(f"/maintenance/window/{planned.id}", reason="").text
    assert operator.send(f"/maintenance/window/{planned.id}", reason="the vendor is ill").status_code == 302
    assert rotad.double.windows[0].phase is WindowPhase.CALLED_OFF
    page = operator.get("/maintenance/").text
    assert "Called off" in page
    assert "planned: drain" not in operator.get("/").text
    assert [(e.before, e.after) for e in rotad.double.journal] == [("plan-window", "done"), ("call-off-window", "done")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"until": ""}, "What begins by itself ends by itself: say when."),
        ({"from": "soon"}, "“soon” is no time that lies ahead."),
        ({"from": "2001-01-01"}, "“2001-01-01” is no time that lies ahead."),
        ({"from": "2036-11-30", "until": "2036-11-29"}, "“2036-11-29” is no time after the begin."),
        ({"state": "ready"}, "Only a drain or a halt can be planned"),
        ({"reason": ""}, "Say why"),
    ],
)
def test_a_wrong_form_says_why_and_keeps_what_was_typed(
    as_: SignIn, rotad: Rotad, change: dict[str, str], says: str
) -> None:
    for path in (MEMBER, f"{MEMBER}/do"):
        answer = as_(Role.OPERATOR).send(path, **ASKED | change)
        assert answer.status_code == 400
        assert says in answer.text
        for name in ("reason", "from", "until"):
            assert f'name="{name}" type="text" value="{(ASKED | change)[name]}"' in answer.text
    assert rotad.double.windows == []


def test_one_that_would_leave_nobody_has_to_be_meant(as_: SignIn, rotad: Rotad) -> None:
    operator, asked = as_(Role.OPERATOR), ASKED | {"service": "worklist"}
    path = "/maintenance/member/pacs-b/do"
    refused = operator.send(path, **asked)
    assert refused.status_code == 409
    assert "pacs-b would be the last member of worklist. Nothing was changed." in refused.text
    assert "Plan it, and do it then although callers may find nobody" in refused.text
    assert rotad.double.windows == []
    assert operator.send(path, **asked, force="yes").status_code == 302
    assert rotad.double.windows[0].force


def test_with_the_peer_away_it_is_said_who_does_not_know(as_: SignIn, rotad: Rotad) -> None:
    rotad.double.peer_fit = False
    operator = as_(Role.OPERATOR)
    assert "queued for lb2" in operator.send(MEMBER, **ASKED).text
    operator.send(f"{MEMBER}/do", **ASKED)
    assert "queued for lb2" in operator.get("/maintenance/").text
    assert "queued for lb2" in operator.get("/maintenance/window/a00001").text


def test_one_that_runs_is_ended_by_bringing_the_server_back(as_: SignIn, rotad: Rotad) -> None:
    rotad.double.windows = [window(1, WindowPhase.RUNNING)]
    operator = as_(Role.OPERATOR)
    page = operator.get("/maintenance/window/000001").text
    assert "bring pacs-b back" in page
    assert "Call it off" not in page
    assert operator.send("/maintenance/window/000001", reason="no more").status_code == 409


@pytest.mark.parametrize("role", list(Role))
def test_a_window_for_every_role(as_: SignIn, rotad: Rotad, role: Role) -> None:
    rotad.double.windows = [window()]
    page = as_(role).get("/maintenance/window/000001").text
    assert ("Call it off" in page) is (role >= Role.OPERATOR)
    assert as_(role).get("/maintenance/").text.count("Call off that of pacs-b") == (role >= Role.OPERATOR)


def test_an_unknown_window_is_a_page_that_says_so(as_: SignIn) -> None:
    answer = as_(Role.VIEWER).get("/maintenance/window/nope")
    assert answer.status_code == 404
    assert "There is no window “nope”" in answer.text
    assert as_(Role.OPERATOR).send("/maintenance/window/nope", reason="no more").status_code == 404


def test_with_rotad_silent_nothing_is_said_of_windows(as_: SignIn, rotad: Rotad) -> None:
    viewer = as_(Role.VIEWER)
    rotad.stop()
    assert "what is planned is not known here" in viewer.get("/maintenance/").text
    assert viewer.get("/maintenance/window/000001").status_code == 503


# --- views


def status(*windows: Window) -> Status:
    return Double().status().model_copy(update={"windows": list(windows)})


def test_a_row_tells_of_the_next_window_of_its_member() -> None:
    view = overview(reading(windows=[window(1), window(2), window(3, service=None, member="hl7-a")]), None, "lb1")
    rows = {row.id: row.planned for card in view.cards for row in card.rows}
    assert rows["m.pacs.pacs-b"] == f"planned: drain {words.window_time(window(1))}"
    assert rows["m.worklist.pacs-b"] == rows["m.pacs.pacs-a"] == ""
    assert rows["m.hl7.hl7-a"].startswith("planned: drain")


def test_those_to_come_stand_first_and_of_the_past_the_newest() -> None:
    past = [window(n, WindowPhase.SKIPPED, outcome="why") for n in range(1, 20)]
    rows = upkeep.windows([*past, window(30), window(31, WindowPhase.RUNNING)])
    assert [row.id for row in rows[:3]] == ["00001e", "00001f", "000013"]
    assert len(rows) == 2 + upkeep.PAST
    assert (rows[2].tag.text, rows[2].outcome) == ("Skipped", "why")


def test_the_support_bundle_leaves_people_out_of_windows_too() -> None:
    found = status(window(outcome="called off by anna: ill", reason="anna asks"))
    data = bundle.make(found, [], None, "rota 1\n", NOON)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        text = "".join(tar.extractfile(name).read().decode() for name in tar.getnames())  # type: ignore[union-attr]
    assert "anna" not in text
    assert "called off by person-1" in text
