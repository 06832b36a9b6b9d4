"""/api/v1: tokens and sessions, roles, audit lines, and rotad's answers as they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openapi_spec_validator import validate
from rota.control.state import Event, Status
from rota.web.api import views
from rota.web.api.description import description
from rota.web.auth import tokens
from rota.web.auth.people import Person, Role
from rota.web.context import Context
from unit.api.double import NOON
from unit.web.conftest import BASE, Browser, Rotad, SignIn

DRAIN = {"service": "pacs", "member": "pacs-b", "state": "drain", "reason": "patching"}
GETS = ["status", "services/pacs", "events", "associations", "intents", "alarms", "windows", "openapi.json"]
WINDOW = DRAIN | {"starts": "2036-11-30T02:00:00Z", "until": "2036-11-30T04:00:00Z"}
ACTS: list[tuple[str, dict[str, Any]]] = [
    ("intents", DRAIN),
    ("failover", {"reason": "maintenance"}),
    ("windows", WINDOW),
]


def bearer(context: Context, scope: Role) -> dict[str, str]:
    if context.store.person("script") is None:
        context.store.add(Person("script", Role.ADMINISTRATOR))
    text = tokens.make(context.store, Person("script", Role.ADMINISTRATOR), "a script", scope, 1)
    return {"Authorization": f"Bearer {text}"}


def audited(rotad: Rotad) -> list[tuple[str | None, ...]]:
    return [(e.before, e.after, e.service, e.member, e.person, e.reason) for e in rotad.double.journal if e.kind == "audit"]


@pytest.mark.parametrize("path", GETS)
def test_nobody_reads(browser: Browser, path: str) -> None:
    answer = browser.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", GETS)
def test_a_viewers_token_reads(browser: Browser, context: Context, path: str) -> None:
    answer = browser.get(f"/api/v1/{path}", headers=bearer(context, Role.VIEWER))
    assert (answer.status_code, answer.content_type) == (200, "application/json")


def test_a_session_reads_and_the_answer_is_rotads_own(as_: SignIn, rotad: Rotad) -> None:
    answer = as_(Role.VIEWER).get("/api/v1/status")
    assert Status.model_validate_json(answer.data) == rotad.double.status()


def test_the_query_reaches_rotad(as_: SignIn, rotad: Rotad) -> None:
    rotad.double.journal = [
        Event(id=n, at=NOON + timedelta(minutes=n), node="lb1", kind="verdict", service=("pacs", "hl7")[n % 2])
        for n in range(6)
    ]
    viewer = as_(Role.VIEWER)
    found = viewer.get(
        "/api/v1/events", query_string={"service": "pacs", "since": (NOON + timedelta(minutes=1)).isoformat()}
    )
    assert [event["id"] for event in found.json] == [2, 4]
    rotad.double.journal.append(Event(id=7, at=NOON + timedelta(hours=1), node="lb1", kind="rotad", after="started"))
    both = viewer.get("/api/v1/events?service=hl7&general=true")
    assert [event["id"] for event in both.json] == [1, 3, 5, 7]
    refused = viewer.get("/api/v1/events?limit=0")
    assert (refused.status_code, refused.json["code"]) == (400, "bad-request")
    assert viewer.get("/api/v1/services/nope").json["code"] == "unknown-service"
    assert viewer.get("/api/v1/services/..%2fstatus").status_code == 404


@pytest.mark.parametrize(("path", "body"), ACTS)
def test_an_operators_token_acts_and_leaves_an_audit_line(
    browser: Browser, context: Context, rotad: Rotad, path: str, body: dict[str, Any]
) -> None:
    answer = browser.post(f"/api/v1/{path}", json=body, headers=bearer(context, Role.OPERATOR))
    assert answer.status_code == 200
    assert rotad.double.people == ["script via nobody"]
    (line,) = audited(rotad)
    assert line[0] in ("drain", "failover", "plan-window")
    assert line[1] == "done"
    times = "; starts 2036-11-30T02:00:00Z; until 2036-11-30T04:00:00Z" if path == "windows" else ""
    assert line[4:] == ("script via nobody", f"from 127.0.0.1: {body['reason']}{times}")


def test_a_window_is_called_off_with_an_audit_line(browser: Browser, context: Context, rotad: Rotad) -> None:
    head = bearer(context, Role.OPERATOR)
    window = browser.post("/api/v1/windows", json=WINDOW, headers=head).json["id"]
    path = f"/api/v1/windows/{window}/call-off"
    assert browser.post(path, json={"reason": "the vendor is ill"}, headers=bearer(context, Role.VIEWER)).status_code == 403
    assert browser.post(path, json={"reason": "the vendor is ill"}, headers=head).json["phase"] == "called-off"
    assert audited(rotad)[-1][:2] == ("call-off-window", "done")
    assert audited(rotad)[-1][5] == f"from 127.0.0.1: the vendor is ill; window {window}"
    again = browser.post(path, json={"reason": "the vendor is ill"}, headers=head)
    assert (again.status_code, again.json["code"]) == (409, "window-over")
    assert audited(rotad)[-1][1] == "refused"


@pytest.mark.parametrize(("path", "body"), ACTS)
def test_a_viewers_token_acts_not(browser: Browser, context: Context, rotad: Rotad, path: str, body: dict[str, Any]) -> None:
    assert browser.post(f"/api/v1/{path}", json=body, headers=bearer(context, Role.VIEWER)).status_code == 403
    assert rotad.double.people == []


@pytest.mark.parametrize(("path", "body"), ACTS)
@pytest.mark.parametrize("role", list(Role))
def test_a_session_acts_by_its_role_and_with_the_csrf_token(
    as_: SignIn, rotad: Rotad, role: Role, path: str, body: dict[str, Any]
) -> None:
    browser = as_(role)
    token = {"X-CSRFToken": browser.token(), "Referer": f"{BASE}/"}
    without = browser.post(f"/api/v1/{path}", json=body)
    assert without.status_code == (403 if role is Role.VIEWER else 400)
    assert rotad.double.people == []
    assert browser.post(f"/api/v1/{path}", json=body, headers=token).status_code == (403 if role is Role.VIEWER else 200)
    assert len(rotad.double.people) == (role > Role.VIEWER)


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Bearer rota_000000000000_" + "a" * 43, "Basic YW5uYTp4", "", "Bearer rota_%s_x"]
)
def test_a_token_that_does_not_hold_is_refused_even_beside_a_session(as_: SignIn, rotad: Rotad, header: str) -> None:
    answer = as_(Role.OPERATOR).post("/api/v1/intents", json=DRAIN, headers={"Authorization": header})
    assert answer.status_code == 401
    assert audited(rotad)[-1][:2] == ("token", "refused")


def test_a_token_opens_no_page(browser: Browser, context: Context) -> None:
    assert browser.get("/tokens", headers=bearer(context, Role.VIEWER)).status_code == 302
    assert browser.post("/people", headers=bearer(context, Role.OPERATOR)).status_code in (302, 400)


def test_a_refusal_is_rotads_and_is_noted(browser: Browser, context: Context, rotad: Rotad) -> None:
    answer = browser.post("/api/v1/intents", json=DRAIN | {"service": "worklist"}, headers=bearer(context, Role.OPERATOR))
    assert (answer.status_code, answer.json["code"]) == (409, "last-member")
    title = "pacs-b is the last member of worklist that serves"
    assert answer.json["title"] == title
    assert audited(rotad) == [
        ("drain", "refused", "worklist", "pacs-b", "script via nobody", f"from 127.0.0.1: patching; {title}")
    ]


def test_the_line_says_until_when_and_that_it_was_forced(browser: Browser, context: Context, rotad: Rotad) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    body = DRAIN | {"service": "worklist", "force": True, "until": until}
    assert browser.post("/api/v1/intents", json=body, headers=bearer(context, Role.OPERATOR)).status_code == 200
    assert audited(rotad)[0][5] == f"from 127.0.0.1: patching; until {until}; forced"


@pytest.mark.parametrize(
    ("raw", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"member": {"a": 1}, "service": ["x"], "state": 7, "reason": null}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b'{"reason": "' + b"x" * 20_000 + b'"}', "application/json", 413),
        (b'{"reason": "' + b"x" * 70_000 + b'"}', "application/json", 413),
    ],
)
def test_a_body_that_is_no_act(browser: Browser, context: Context, rotad: Rotad, raw: bytes, kind: str, status: int) -> None:
    answer = browser.post("/api/v1/intents", data=raw, content_type=kind, headers=bearer(context, Role.OPERATOR))
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert rotad.double.people == []


@pytest.mark.parametrize(("path", "status"), [("nope", 404), ("audit", 404), ("", 200)])
def test_what_there_is_not(as_: SignIn, path: str, status: int) -> None:
    assert as_(Role.VIEWER).get(f"/api/v1/{path}").status_code == status


def test_a_silent_rotad_is_a_problem_that_says_since_when(as_: SignIn, rotad: Rotad) -> None:
    viewer = as_(Role.VIEWER)
    viewer.get("/api/v1/status")
    rotad.stop()
    answer = viewer.get("/api/v1/status")
    assert (answer.status_code, answer.json["code"]) == (503, "silent")
    assert "since 12:00:00 UTC on 04 May 2026" in answer.json["title"]
    page = viewer.get("/tokens")
    assert page.status_code == 200, "what does not need rotad works"


def test_an_act_that_rotad_does_not_answer_failed_and_is_noted_later(
    browser: Browser, context: Context, rotad: Rotad, hands: Any
) -> None:
    header = bearer(context, Role.OPERATOR)
    rotad.stop()
    assert browser.post("/api/v1/intents", json=DRAIN, headers=header).status_code == 503
    rotad.start()
    hands.pass_(60)
    browser.post("/api/v1/intents", json=DRAIN, headers=header)
    assert [line[:2] for line in audited(rotad)] == [("drain", "failed"), ("drain", "done")]


def test_the_stream_tells_what_happens(as_: SignIn, rotad: Rotad) -> None:
    event = Event(id=7, at=NOON, node="lb1", kind="verdict", service="pacs", member="pacs-a", after="down")
    with as_(Role.VIEWER).get("/api/v1/events/stream", buffered=False) as answer:
        lines = iter(answer.response)
        assert next(lines) == b": alive\n"
        rotad.call(rotad.double.tell, event)
        found = [line for line, _ in zip(lines, range(6), strict=False)]
    assert f"data: {event.model_dump_json()}\n".encode() in found


def test_streams_are_bounded_and_closed_ones_make_room(as_: SignIn, rotad: Rotad) -> None:
    viewer = as_(Role.VIEWER)
    for _ in range(3):
        answers = [viewer.get("/api/v1/events/stream", buffered=False) for _ in range(views.STREAMS)]
        assert {answer.status_code for answer in answers} == {200}
        assert viewer.get("/api/v1/events/stream").json["code"] == "too-many"
        for answer in answers:
            answer.close()
    rotad.stop()
    for _ in range(views.STREAMS + 1):
        assert viewer.get("/api/v1/events/stream").json["code"] == "silent"


def test_the_description_is_valid_and_leaves_out_what_is_not_offered() -> None:
    found = description()
    validate(found)
    assert sorted(found["paths"]) == sorted(
        "/api/v1/" + path
        for path in (
            "status", "services/{service}", "events", "events/stream", "associations", "intents", "alarms", "windows",
            "windows/{window}/call-off", "failover", "openapi.json",
        )
    )  # fmt: skip
    assert "Rota-Person" not in str(found)


def test_the_page_of_the_api_shows_each_operation(as_: SignIn) -> None:
    page = as_(Role.VIEWER).get("/api/v1/").get_data(as_text=True)
    for path, operations in description()["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page
    assert "<code>reason</code>" in page
