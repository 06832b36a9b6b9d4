from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rota.control.access import Caller
from rota.control.state import Association, Event, Status
from unit.api.conftest import OPERATORS, VIEWERS, Who
from unit.api.double import NOON, Double

DRAIN = {"service": "pacs", "member": "pacs-b", "state": "drain", "reason": "patching"}


async def problem_of(answer: aiohttp.ClientResponse) -> tuple[int, str, str]:
    assert answer.content_type == "application/problem+json"
    body = await answer.json(content_type=None)
    assert body["status"] == answer.status
    assert "\n" not in body["title"]
    return body["status"], body["code"], body["title"]


async def test_status_is_what_the_controller_says(http: aiohttp.ClientSession, double: Double) -> None:
    async with http.get("/v1/status") as answer:
        assert answer.status == 200
        assert Status.model_validate_json(await answer.read()) == double.status()


async def test_one_service(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/services/pacs") as answer:
        assert [m["name"] for m in (await answer.json())["members"]] == ["pacs-a", "pacs-b"]


async def test_a_service_that_is_not_there(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/services/nope") as answer:
        assert (await problem_of(answer))[:2] == (404, "unknown-service")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", (404, "not-found")),
        ("GET", "/v1/nope", (404, "not-found")),
        ("DELETE", "/v1/status", (405, "method-not-allowed")),
        ("HEAD", "/v1/intents", (405, "method-not-allowed")),
        ("GET", "/v1/status?x=1", (400, "bad-request")),
        ("GET", "/v1/events?limit=0", (400, "bad-request")),
        ("GET", "/v1/events?limit=5001", (400, "bad-request")),
        ("GET", "/v1/events?limit=1&limit=2", (400, "bad-request")),
        ("GET", "/v1/events?since=yesterday", (400, "bad-request")),
        ("GET", "/v1/events?since=2026-11-24T12:00:00", (400, "bad-request")),
        ("GET", "/v1/events?until=0.5", (400, "bad-request")),
        ("GET", "/v1/events?since=0001-01-01T00:00:00%2B14:00", (400, "bad-request")),
        ("GET", "/v1/events?wrong=1", (400, "bad-request")),
        ("GET", "/v1/associations?service=nope", (404, "unknown-service")),
    ],
)
async def test_errors_are_problems(http: aiohttp.ClientSession, method: str, path: str, expected: tuple[int, str]) -> None:
    async with http.request(method, path.replace("%2B", "%2B"), allow_redirects=False) as answer:
        if method == "HEAD":
            assert answer.status == expected[0]
        else:
            assert (await problem_of(answer))[:2] == expected


async def test_a_fault_of_rotads_own_is_a_problem_too(http: aiohttp.ClientSession, double: Double) -> None:
    double.broken = True
    async with http.get("/v1/status") as answer:
        assert (await problem_of(answer))[:2] == (500, "internal")
    double.broken = False
    async with http.get("/v1/status") as answer:
        assert answer.status == 200


async def test_an_intent_is_recorded_with_person_and_end(http: aiohttp.ClientSession, double: Double) -> None:
    until = datetime.now(UTC) + timedelta(hours=2)
    body = DRAIN | {"until": until.astimezone().isoformat()}
    async with http.post("/v1/intents", json=body, headers={"Rota-Person": "anna"}) as answer:
        assert answer.status == 200
        (intent,) = await answer.json()
    assert intent["person"] == "anna"
    assert datetime.fromisoformat(intent["until"]) == until
    assert intent["until"].endswith("Z")
    async with http.get("/v1/intents") as answer:
        assert await answer.json() == [intent]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reason": ""}, "reason: "),
        ({"reason": "two\nlines"}, "reason: "),
        ({"reason": "x" * 201}, "reason: "),
        ({"reason": None}, "reason: "),
        ({"state": "off"}, "state: "),
        ({"until": "tomorrow"}, "until: "),
        ({"until": 1795000000}, "until: "),
        ({"until": "2126-11-24T12:00:00"}, "timezone"),
        ({"until": "1795000000"}, "a time is written"),
        ({"until": "2001-11-24T12:00:00Z"}, "passed"),
        ({"force": "yes"}, "force: "),
        ({"colour": "green"}, "colour: "),
    ],
)
async def test_a_bad_intent_is_named(http: aiohttp.ClientSession, double: Double, change: dict[str, Any], says: str) -> None:
    async with http.post("/v1/intents", json=DRAIN | change) as answer:
        status, _, title = await problem_of(answer)
    assert status == 400
    assert says in title
    assert double.people == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"\xff"', b"[" * 10_000, b'{"member": "\\ud800"}'])
async def test_a_body_that_is_no_intent(http: aiohttp.ClientSession, raw: bytes) -> None:
    async with http.post("/v1/intents", data=raw, headers={"Content-Type": "application/json"}) as answer:
        assert (await problem_of(answer))[0] == 400


async def test_a_body_of_another_type(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/intents", data="member=x") as answer:
        assert (await problem_of(answer))[:2] == (415, "media-type")


async def test_a_large_body_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/intents", json=DRAIN | {"reason": "x" * 20_000}) as answer:
        assert (await problem_of(answer))[:2] == (413, "too-large")


async def test_the_controllers_refusal_reaches_the_caller(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/intents", json=DRAIN | {"service": "worklist"}) as answer:
        assert await problem_of(answer) == (409, "last-member", "pacs-b is the last member of worklist that serves")


async def test_failover(http: aiohttp.ClientSession, double: Double) -> None:
    double.peer_fit = False
    async with http.post("/v1/failover", json={"reason": "maintenance"}) as answer:
        assert (await problem_of(answer))[:2] == (409, "peer-unfit")
    async with http.post("/v1/failover", json={"reason": "maintenance", "force": True}) as answer:
        assert await answer.json() == ["main"]


@pytest.mark.parametrize(
    ("groups", "read", "act"),
    [
        ({OPERATORS}, 200, 200),
        ({VIEWERS}, 200, 403),
        ({VIEWERS, OPERATORS}, 200, 200),
        ({4000}, 403, 403),
        (set(), 403, 403),
    ],
)
async def test_rights_go_by_group(
    http: aiohttp.ClientSession, double: Double, who: Who, groups: set[int], read: int, act: int
) -> None:
    who.caller = Caller(65534, frozenset(groups))
    for path in ("/v1/status", "/v1/events", "/v1/openapi.json", "/v1/associations", "/v1/alarms", "/v1/services/pacs"):
        async with http.get(path) as answer:
            assert answer.status == read, path
    async with http.post("/v1/intents", json=DRAIN) as answer:
        assert answer.status == act
    assert (len(double.people) == 1) == (act == 200)


async def test_a_stranger_gets_no_stream(http: aiohttp.ClientSession, who: Who) -> None:
    who.caller = Caller(65534, frozenset())
    async with http.get("/v1/events/stream") as answer:
        assert (await problem_of(answer))[:2] == (403, "forbidden")


@pytest.mark.parametrize("header", ["two words", "-x", "a" * 65, "<b>"])
async def test_a_person_is_a_name(http: aiohttp.ClientSession, double: Double, header: str) -> None:
    async with http.post("/v1/intents", json=DRAIN, headers={"Rota-Person": header}) as answer:
        assert (await problem_of(answer))[0] == 400
    assert double.people == []


async def test_nobody_acts_in_another_name(http: aiohttp.ClientSession, double: Double, who: Who) -> None:
    """Only root may name the person alone: a web app's user is told beside the web app's own."""
    who.caller = Caller(65534, frozenset({OPERATORS}))
    async with http.post("/v1/intents", json=DRAIN, headers={"Rota-Person": "anna"}) as answer:
        assert answer.status == 200
    assert double.people == ["anna via nobody"]


async def test_events_by_time_and_service(http: aiohttp.ClientSession, double: Double) -> None:
    double.journal = [
        Event(id=n, at=NOON + timedelta(minutes=n), node="lb1", kind="verdict", service=("pacs", "hl7")[n % 2])
        for n in range(10)
    ]
    since = (NOON + timedelta(minutes=4)).isoformat()
    async with http.get("/v1/events", params={"since": since, "service": "pacs"}) as answer:
        assert [e["id"] for e in await answer.json()] == [4, 6, 8]
    async with http.get("/v1/events", params={"limit": 3}) as answer:
        assert [e["id"] for e in await answer.json()] == [7, 8, 9]


async def test_who_is_connected(http: aiohttp.ClientSession, double: Double) -> None:
    one = Association(
        service="pacs", member="pacs-a", caller="198.51.100.51:4711", calling_ae="CT_1", called_ae="PACS_A", age_s=12.5,
        bytes_in=1000, bytes_out=20, node="lb1",
    )  # fmt: skip
    double.open = [one]
    async with http.get("/v1/associations?service=pacs") as answer:
        assert [Association.model_validate(a) for a in await answer.json()] == [one]
    async with http.get("/v1/associations?service=hl7") as answer:
        assert await answer.json() == []


def test_the_socket_can_be_reached_by_those_who_have_the_right(socket_path: Path) -> None:
    """Two groups, one socket: its mode lets all in, and the groups decide."""
    assert socket_path.stat().st_mode & 0o777 == 0o666


AUDIT = {"action": "sign-in", "outcome": "done", "source": "203.0.113.50"}


async def test_an_audit_line(http: aiohttp.ClientSession, double: Double) -> None:
    async with http.post("/v1/audit", json=AUDIT, headers={"Rota-Person": "anna"}) as answer:
        assert (answer.status, Event.model_validate_json(await answer.read())) == (200, double.journal[-1])
    assert double.journal[-1].person == "anna"


@pytest.mark.parametrize("change", [{"action": "Sign in"}, {"outcome": "perhaps"}, {"source": "a\nb"}, {"text": "a\nb"}])
async def test_a_bad_audit_line_is_refused(http: aiohttp.ClientSession, double: Double, change: dict[str, Any]) -> None:
    async with http.post("/v1/audit", json=AUDIT | change) as answer:
        assert (await problem_of(answer))[0] == 400
    assert double.journal == []


async def test_who_may_only_look_leaves_no_audit_line(http: aiohttp.ClientSession, double: Double, who: Who) -> None:
    who.caller = Caller(65534, frozenset({VIEWERS}))
    async with http.post("/v1/audit", json=AUDIT) as answer:
        assert answer.status == 403
    assert double.journal == []
