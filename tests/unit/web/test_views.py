"""What the pages say, without a page."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rota.commands.wait import Look
from rota.control.client import Silent
from rota.control.state import Alarm, Association, Certificate, Event, Intent, IntentState, PairState, Role, Status, Verdict
from rota.preflight.findings import Finding, Level, Row, Subject
from rota.preflight.kept import keep
from rota.web.compress import pack
from rota.web.live import Reading, Watch
from rota.web.views import bundle, certificates, failover, guides, journal, preflight, topology, upkeep, words
from rota.web.views.overview import Wanted, headline, overview, sections
from unit.api.double import NOON, Double, member, service


def reading(double: Double | None = None, *, problem: str | None = None, **more: Any) -> Reading:
    status = (double or well()).status().model_copy(update=more)
    return Reading(1, status, NOON, problem)


def well() -> Double:
    """Everything is up."""
    double = Double()
    double.services[1] = double.services[1].model_copy(update={"verdict": "up"})
    return double


def drained(name: str, service: str = "pacs", **more: Any) -> Intent:
    fields = {"state": IntentState.DRAIN, "reason": "patching", "person": "anna", "at": NOON, "counter": 1, "node": "lb1"}
    return Intent.model_validate({"service": service, "member": name, **fields, **more})


# --- the line of truth


def test_all_is_well() -> None:
    said = headline(reading(), "lb1")
    assert said.text.startswith("All 3 services are up. lb1 is active, lb2 stands by; in step since ")
    assert said.level == "good"


def test_the_standby_says_who_is_active() -> None:
    double = Double()
    double.role = Role.STANDBY
    assert "lb2 is active, lb1 stands by" in headline(reading(double), "lb1").text


def test_what_is_not_up_is_named_and_the_worst_counts() -> None:
    double = well()
    double.services[0] = service("pacs", [member("pacs-a", Verdict.DOWN), member("pacs-b")])
    double.services[2] = service("worklist", [member("pacs-b", Verdict.DOWN)])
    said = headline(reading(double), "lb1")
    assert said.text.startswith("1 of 3 services is up; worklist is down; pacs is reduced but serves.")
    assert said.level == "bad"


@pytest.mark.parametrize(
    ("state", "words"), [(PairState.SPLIT_BRAIN, "SPLIT BRAIN"), (PairState.NO_ACTIVE, "NO ACTIVE NODE")]
)
def test_a_pair_that_is_not_one_is_bad_although_services_are_up(state: PairState, words: str) -> None:
    double = Double()
    groups = [group.model_copy(update={"state": state}) for group in double.status().groups]
    said = headline(reading(double, groups=groups), "lb1")
    assert words in said.text
    assert said.level == "bad"


def test_a_peer_that_is_away_is_a_warning() -> None:
    double = Double()
    double.peer_fit = False
    said = headline(reading(double), "lb1")
    assert "lb2 has not answered since" in said.text
    assert said.level == "warn"


def test_a_critical_alarm_is_never_green() -> None:
    alarm = Alarm(key="intents-unsaved", severity="critical", text="intents are not on the disk", since=NOON)
    assert headline(reading(alarms=[alarm]), "lb1").level == "bad"


def test_silence_is_unknown_since_the_last_word_and_nothing_is_green() -> None:
    view = overview(reading(problem="rotad does not answer"), None, "lb1")
    assert view.headline.level == "unknown"
    assert view.headline.text.startswith(f"Unknown since {words.clock(NOON, NOON)}")
    assert {row.tag.colour for card in view.cards for row in card.rows} == {"unknown"}
    assert {card.head.tag.colour for card in view.cards} == {"unknown"}
    assert overview(Reading(1, None, None, "silent"), None, "lb1").headline.level == "unknown"


def test_haproxy_that_does_not_answer_is_bad() -> None:
    said = headline(reading(haproxy_since=None, haproxy_problem="HAProxy does not answer"), "lb1")
    assert (said.level, "no verdict is known" in said.text) == ("bad", True)


# --- rows and filters


def test_a_row_says_everything_in_words() -> None:
    double = Double()
    one = member("pacs-b", associations=3, limit=20, intent=drained("pacs-b"), in_use=False)
    double.services = [service("pacs", [member("pacs-a"), one])]
    row = overview(reading(double), None, "lb1").cards[0].rows[1]
    assert (row.tag.text, row.open, row.work) == ("Up", "3/20", "no new work")
    assert row.intent == "draining, by anna: patching"
    assert not row.well


def test_filters() -> None:
    cards = overview(reading(), None, "lb1").cards
    assert [[c.head.name for c in found] for _, found in sections(cards, Wanted("pacs-b"))] == [["pacs", "worklist"]]
    assert [len(c.rows) for _, found in sections(cards, Wanted("pacs-b")) for c in found] == [1, 1]
    assert [name for name, _ in sections(cards, Wanted(by="kind"))] == ["DICOM", "HL7"]
    assert sections(cards, Wanted("no such thing")) == []
    assert sections(cards, Wanted(problems=True)) == []


# --- what is shared


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_many_who_look_cost_one_question_a_second() -> None:
    asked: list[int] = []
    clock = Clock()

    def ask() -> Status:
        asked.append(1)
        return Double().status()

    watch = Watch(ask, clock=clock)
    for _ in range(50):
        watch.now()
    assert len(asked) == 1
    clock.now = 1.1
    watch.now()
    assert len(asked) == 2
    watch.now(anew=True)
    assert len(asked) == 3


def test_silence_keeps_the_last_word_and_says_when_it_was() -> None:
    clock, answers = Clock(), [Double().status()]

    def ask() -> Status:
        if not answers:
            raise Silent("rotad does not answer")
        return answers.pop()

    watch = Watch(ask, clock=clock)
    first = watch.now()
    clock.now = 5
    second = watch.now()
    assert (first.known, second.known) == (True, False)
    assert second.heard == first.heard
    assert second.status is not None


def test_idle_is_counted_in_a_row_and_a_gap_or_blindness_begins_anew() -> None:
    double, clock = Double(), Clock()
    double.services = [service("pacs", [member("pacs-a"), member("pacs-b", intent=drained("pacs-b"), in_use=False)])]
    watch = Watch(lambda: double.status(), clock=clock)
    key = [("pacs", "pacs-b")]
    for count in (1, 2, 3):
        clock.now += 1.1
        watch.now()
        assert watch.idle(key) == count
    clock.now += 60
    watch.now()
    assert watch.idle(key) == 1
    double.peer_fit = False
    clock.now += 1.1
    watch.now()
    assert watch.idle(key) == 0
    assert watch.idle([("pacs", "pacs-a")]) == 0


# --- maintenance


def pacs(*members: Any) -> list[upkeep.Place]:
    double = Double()
    double.services = [service("pacs", list(members))]
    return upkeep.places(double.status(), "pacs-b")


def test_the_impact_of_a_drain() -> None:
    (said,) = upkeep.impact(pacs(member("pacs-a"), member("pacs-b", associations=4), member("pacs-c")), IntentState.DRAIN)
    assert (
        said.text
        == "2 of 3 members remain: pacs-a and pacs-c. 4 connections may end by themselves; new callers go elsewhere."
    )
    assert not said.nobody


def test_the_impact_of_a_halt_on_the_last_one() -> None:
    (said,) = upkeep.impact(pacs(member("pacs-a", Verdict.DOWN), member("pacs-b", associations=1)), IntentState.HALT)
    assert said.nobody
    assert "NOBODY REMAINS" in said.text
    assert "1 connection is CUT at once" in said.text


def test_one_that_comes_back_while_its_check_fails() -> None:
    (said,) = upkeep.impact(
        pacs(member("pacs-a"), member("pacs-b", Verdict.DOWN, intent=drained("pacs-b"))), IntentState.READY
    )
    assert "as soon as its check passes. Now it is down: silent" in said.text


@pytest.mark.parametrize(
    ("look", "idle", "safe", "level"),
    [
        (Look([], 0, [], None), 3, True, "good"),
        (Look([], 0, [], None), 2, False, "warn"),
        (Look([], 2, [], None), 9, False, "warn"),
        (Look([], 0, ["lb2 does not answer"], None), 9, False, "unknown"),
        (Look([], 0, [], "pacs/pacs-b is ready again"), 9, False, "warn"),
    ],
)
def test_safe_to_patch(look: Look, idle: int, safe: bool, level: str) -> None:
    here = pacs(member("pacs-a"), member("pacs-b", intent=drained("pacs-b", until=NOON + timedelta(hours=2)), in_use=False))
    said = upkeep.wait("pacs-b", look, idle, here, reading())
    assert (said.safe, said.level) == (safe, level)
    if not look.ended:
        assert said.until == "It ends by itself in 2 h."


def test_what_a_failover_needs() -> None:
    double = Double()
    (move,) = failover.moves(reading(double))
    assert (move.fit, move.holder, move.to) == (True, "lb1", "lb2")
    double.peer_fit = False
    (move,) = failover.moves(reading(double))
    assert not move.fit
    assert {c.tag.text for c in move.conditions} == {"Yes", "No", "Unknown"}
    (move,) = failover.moves(reading(problem="silent"))
    assert {c.met for c in move.conditions} == {None}


def test_the_guide_stops_when_nobody_else_serves() -> None:
    steps = guides.patch_server("pacs-b", pacs(member("pacs-a", Verdict.DOWN), member("pacs-b")), None)
    assert (steps[0].state, steps[1].state) == ("stop", "next")
    steps = guides.patch_server("pacs-b", pacs(member("pacs-a"), member("pacs-b")), None)
    assert [s.state for s in steps] == ["done", "now", "next", "next", "next", "next"]


def test_the_last_preflight_is_kept_service_by_service(tmp_path: Path) -> None:
    path = tmp_path / "preflight.json"
    finding = Finding(Subject.REACH, Level.BLOCK, "refused")
    keep(path, [Row("lb1", "pacs", "pacs-a", "203.0.113.21", 104, [finding])], "anna", NOON)
    keep(path, [Row("lb1", "hl7", "hl7-a", "203.0.113.22", 2575)], "bob", NOON)
    found = preflight.last(path, "pacs")
    assert found is not None
    assert (found.person, found.found[0].text, found.found[0].level) == ("anna", "refused", "block")
    assert preflight.last(path, "viewer") is None
    path.write_text("{")
    assert preflight.last(path, "pacs") is None
    keep(tmp_path / "no/such/preflight.json", [], "anna", NOON)


def test_certificates_stand_by_the_days_that_they_have_left(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    double = Double()
    double.services = [service("pacs", [member("pacs-a", deep="certificate: up: 12 days to expiry on 2026-12-06")])]
    shown = [Certificate(name="pacs.pem", ends=now + timedelta(days=80, hours=1))]
    more = {"certificate_ends": now + timedelta(days=3, hours=1), "certificates": shown}
    status = double.status().model_copy(update=more)
    found = certificates.everything(status, tmp_path / "none.crt")
    assert [(c.where, c.days, c.tag.colour) for c in found] == [
        ("lb1", 3, "bad"), ("pacs/pacs-a", 12, "warn"), ("pacs.pem", 80, "good"), ("this page", None, "unknown"),
    ]  # fmt: skip


# --- pictures and files


def test_the_picture_has_every_word_escaped_and_no_style() -> None:
    double = Double()
    double.services = [service("pacs", [member("pacs-a"), member("pacs-b", Verdict.DOWN)], addresses=['"><script>'])]
    text = topology.picture(double.services[0], double.status())
    assert "<script>" not in text
    assert "style=" not in text
    assert "pacs-b down gets none" in text


def event(**more: Any) -> Event:
    return Event.model_validate({"id": 1, "at": NOON, "node": "lb1", "kind": "verdict", **more})


def test_csv_holds_no_formula() -> None:
    text = journal.to_csv([event(service="pacs", reason='=cmd|" /C calc"!A1', person="@anna")])
    assert "'=cmd" in text
    assert ",'@anna" in text


def test_events_are_chosen_newest_first() -> None:
    events = [
        event(id=1, service="pacs", reason="refused"),
        event(id=2, kind="intent", person="anna"),
        event(id=3, reason="Refused"),
    ]
    assert [e.id for e in journal.Part(text="refused").choose(events)] == [3, 1]
    assert [e.id for e in journal.Part(kind="intent").choose(events)] == [2]


def test_the_support_bundle_leaves_people_callers_and_secrets_out() -> None:
    double = Double()
    double.services[0] = service(
        "pacs", [member("pacs-a", intent=drained("pacs-a", reason="anna asks, tell bob@example.org"))]
    )
    events = [
        event(kind="intent", person="anna", reason="anna: broken"),
        event(kind="failover", before="CT_1 192.0.2.7:50123", after="cut", reason="halted"),
        event(kind="audit", person="bob", reason="from 192.0.2.9: local"),
        event(kind="audit", person="bob", reason="from 2001:db8::7: local"),
    ]
    site = {"site": {"name": "x"}, "services": {"pacs": {"deep": [{"credentials": "/etc/rota/secret.toml"}]}}}
    data = bundle.make(double.status(), events, site, "rota 1\n", NOON)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = [name.rpartition("/")[2] for name in tar.getnames()]
        text = "".join(tar.extractfile(name).read().decode() for name in tar.getnames())  # type: ignore[union-attr]
    assert names == ["CONTENTS.txt", *(name for name, _ in bundle.CONTENTS)]
    for secret in ("anna", "bob", "192.0.2.7", "192.0.2.9", "2001:db8::7", "secret.toml", "example.org"):
        assert secret not in text
    assert "person-1" in text
    assert "203.0.113.21" in text  # a member's address is what help is about


def test_compressed_answers_have_an_uncertain_length() -> None:
    data = json.dumps(["x" * 50] * 100).encode()
    assert gzip.decompress(pack(data)) == data
    assert gzip.decompress(pack(data, noise=40)) == data
    assert len(pack(data, noise=40)) > len(pack(data))


def test_callers_are_shown_with_their_titles() -> None:
    one = Association(
        service="pacs", member="pacs-a", caller="192.0.2.7:50123", calling_ae="CT_1", called_ae="PACS", age_s=70, bytes_in=1500,
        bytes_out=20, node="lb1",
    )  # fmt: skip
    (found,) = upkeep.callers([one])
    assert (found.calling, found.age, found.size) == ("CT_1", "1 min", "1.5 kB in, 20 B out")
