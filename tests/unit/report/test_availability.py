from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from rota.control.state import Event, ServiceState, Status, Verdict
from rota.report.build import build
from rota.report.model import Report, ServiceReport, State, percent
from unit.api.double import member, service
from unit.report.journal import BEGIN, END, at, down, event, intent, month, role, status, verdict

MONTH = (END - BEGIN).total_seconds()


def made(events: list[Event], now: Status | None = None, watched_from: datetime | None = BEGIN) -> Report:
    return build(events, now or status(), BEGIN, END, watched_from=watched_from)


def only(events: list[Event], now: Status | None = None) -> ServiceReport:
    (found,) = made(events, now).services
    return found


def test_a_quiet_month_is_a_hundred_percent() -> None:
    one = only([])
    assert (one.availability, one.outages, one.seconds) == (1.0, 0, MONTH)


def test_an_outage_takes_its_seconds() -> None:
    one = only([*down(at(5), "pacs-a", 100), *down(at(5), "pacs-b", 40)])
    assert (one.down_s, one.outages, one.longest_s) == (40, 1, 40)
    assert one.availability == pytest.approx(1 - 40 / MONTH)
    assert one.degraded_s == 60


def test_one_of_two_is_reduced_and_not_down() -> None:
    one = only(down(at(5), "pacs-a", 100))
    assert (one.down_s, one.degraded_s, one.availability) == (0, 100, 1.0)


def test_what_began_before_the_period_and_never_ended_is_down_all_along() -> None:
    """The journal of the period holds no event of it: today's state says it."""
    lost = service("pacs", [member("pacs-a", Verdict.DOWN), member("pacs-b", Verdict.DOWN)])
    report = made([], status([lost]))
    assert report.services[0].availability == 0.0
    assert report.outages[0].open


def test_a_state_before_its_first_change_is_that_changes_before() -> None:
    one = only([verdict(at(0, 1), "pacs-a", "down", "up"), verdict(at(0, 2), "pacs-b", "down", "up")])
    assert one.down_s == 3600


class TestPlanned:
    def test_all_members_kept_away_is_planned(self) -> None:
        events = [intent(at(4), m, "ready", "drain") for m in ("pacs-a", "pacs-b")]
        events += down(at(4, 0.1), "pacs-a", 600)  # it reboots meanwhile
        events += [intent(at(4, 1), m, "drain", "ready") for m in ("pacs-a", "pacs-b")]
        one = only(sorted(events, key=lambda e: e.at))
        assert (one.planned_s, one.down_s, one.availability) == (3600, 0, 1.0)

    def test_the_last_one_fails_while_the_other_is_patched(self) -> None:
        """Patients waited, and nobody had planned it: an outage, whose cause names the patching too."""
        events = [
            intent(at(4), "pacs-a", "ready", "drain"),
            *down(at(4, 0.5), "pacs-b", 60),
            intent(at(4, 1), "pacs-a", "drain", "ready"),
        ]
        (outage,) = made(events).outages
        assert not outage.planned
        assert outage.seconds == 60
        assert outage.cause == "pacs-a in drain by anna (patching); pacs-b down (silent: no association within 3 s)"

    def test_a_member_that_comes_back_late_is_an_outage_from_then(self) -> None:
        gone = [service("pacs", [member("pacs-a")])]
        events = [
            intent(at(4), "pacs-a", "ready", "halt"),
            verdict(at(4, 0.1), "pacs-a", "up", "down"),
            intent(at(4, 1), "pacs-a", "halt", "ready"),
            verdict(at(4, 3), "pacs-a", "down", "up"),
        ]
        one = only(events, status(gone))
        assert (one.planned_s, one.down_s) == (3600, 7200)
        assert one.availability == pytest.approx(1 - 7200 / (MONTH - 3600))


class TestHolder:
    def test_the_standbys_view_does_not_count(self) -> None:
        """lb2 cannot reach the members; lb1 holds the addresses and can."""
        events = [e for m in ("pacs-a", "pacs-b") for e in down(at(5), m, 600, node="lb2")]
        events += [e for m in ("pacs-a", "pacs-b") for e in down(at(9), m, 5, node="lb1")]
        assert only(events).down_s == 5

    def test_after_a_failover_the_new_holders_view_counts(self) -> None:
        events = [role(at(4), "lb2", "standby", "active"), role(at(4, 0, 1), "lb1", "active", "standby")]
        events += [e for m in ("pacs-a", "pacs-b") for e in down(at(5), m, 600, node="lb2")]
        assert only(events, status(holder="lb2")).down_s == 600

    def test_nobody_holds_the_addresses(self) -> None:
        events = [role(at(4), "lb1", "active", "standby"), role(at(4, 0, 3), "lb2", "standby", "active")]
        (outage,) = made(events, status(holder="lb2")).outages
        assert outage.seconds == 3
        assert outage.cause == "no node held the addresses of group main"

    def test_a_node_that_died_without_a_word(self) -> None:
        """lb1 wrote nothing more; before, the addresses were where they always were, and the report does not invent an outage."""
        report = made([role(at(4), "lb2", "standby", "active")], status(holder="lb2"))
        assert report.services[0].down_s == 0
        (failover,) = report.failovers
        assert (failover.before, failover.after, failover.planned) == ("lb1", "lb2", False)

    def test_a_rotad_that_comes_to_know_is_no_failover(self) -> None:
        report = made([role(at(4), "lb1", "unknown", "active")])
        assert report.failovers == []
        assert report.services[0].down_s == 0

    def test_a_failover_that_failed_explains_none(self) -> None:
        tried = event(
            at(4), "failover", member="main", before="lb1", after="lb1", person="anna", reason="failed: lb2 did not take it"
        )
        (failover,) = made([tried, role(at(4, 0, 30), "lb2", "standby", "active")], status(holder="lb2")).failovers
        assert not failover.planned

    def test_a_holder_that_does_not_know_is_unknown(self) -> None:
        events = [role(at(4), "lb1", "active", "unknown"), role(at(4, 1), "lb1", "unknown", "active")]
        one = only(events)
        assert (one.unknown_s, one.down_s) == (3600, 0)

    def test_haproxy_dead_on_the_holder(self) -> None:
        events = [
            event(at(4), "haproxy", before="up", after="down"),
            event(at(4, 0, 9), "haproxy", before="down", after="up"),
        ]
        (outage,) = made(events).outages
        assert (outage.seconds, outage.cause) == (9, "HAProxy on lb1 gave no answer")
        l4 = service("pacs", [member("pacs-a")], mode="l4-dr")
        assert only(events, status([l4])).down_s == 0, "layer 4 goes on without it"


class TestUnknown:
    """Unknown is never counted as available, nor as an outage that nobody saw."""

    def test_before_the_journal_began(self) -> None:
        report = made(down(at(25), "pacs-a", 60), watched_from=at(20))
        assert report.services[0].unknown_s == 20 * 86_400
        assert report.services[0].availability == 1.0

    def test_an_empty_journal(self) -> None:
        report = made([], watched_from=None)
        assert report.services[0].availability is None
        assert percent(report.services[0].availability) == "unknown"

    def test_both_watchers_away(self) -> None:
        events = [
            event(at(4, n), "rotad", node, after=word)
            for n, word in ((0, "stopped"), (1, "started"))
            for node in ("lb1", "lb2")
        ]
        assert only(events).unknown_s == 3600

    def test_one_watcher_away_is_covered_by_the_other(self) -> None:
        events = [event(at(4), "rotad", "lb1", after="stopped"), event(at(4, 1), "rotad", "lb1", after="started")]
        events += [e for m in ("pacs-a", "pacs-b") for e in down(at(4, 0.5), m, 60, node="lb2")]
        one = only(sorted(events, key=lambda e: e.at))
        assert (one.unknown_s, one.down_s) == (0, 60)

    def test_a_killed_rotad_tells_when_it_was_last_alive(self) -> None:
        last = at(4).isoformat()
        events = [event(at(4, 0.5), "rotad", node, before=last, after="started") for node in ("lb1", "lb2")]
        assert only(events).unknown_s == 1800

    def test_what_changed_while_nobody_watched_is_not_taken_for_well(self) -> None:
        """The first sight of a member is no event: both were found down when rotad came back, and then recovered."""
        events = [event(at(4), "rotad", after="stopped"), event(at(4, 1), "rotad", after="started")]
        events += [verdict(at(4, 3), m, "down", "up") for m in ("pacs-a", "pacs-b")]
        events = [*down(at(2), "pacs-a", 1), *down(at(2, 1), "pacs-b", 1), *events]
        one = only(events)
        assert one.down_s == 2 * 3600

    def test_what_changed_while_nobody_watched_and_stayed_so(self) -> None:
        lost = status([service("pacs", [member("pacs-a", Verdict.DOWN)])])
        events = [
            *down(at(2), "pacs-a", 1),
            event(at(4), "rotad", after="stopped"),
            event(at(4, 1), "rotad", after="started"),
        ]
        one = only(events, lost)
        assert one.down_s == 1 + 26 * 86_400 - 3600

    def test_checks_without_an_answer(self) -> None:
        events = [verdict(at(4), m, "up", "unknown") for m in ("pacs-a", "pacs-b")]
        events += [verdict(at(4, 1), m, "unknown", "up") for m in ("pacs-a", "pacs-b")]
        one = only(sorted(events, key=lambda e: e.at))
        assert (one.unknown_s, one.down_s, one.availability) == (3600, 0, 1.0)


def test_answers_but_cannot_store_is_down() -> None:
    alone: list[ServiceState] = [service("pacs", [member("pacs-a")])]
    events = [
        verdict(at(4), "pacs-a", "up", "cannot-store", reason="A700"),
        verdict(at(4, 1), "pacs-a", "cannot-store", "up"),
    ]
    (outage,) = made(events, status(alone)).outages
    assert (outage.seconds, outage.cause) == (3600, "pacs-a cannot-store (A700)")


def test_spans_cover_the_period_without_a_gap() -> None:
    events, now = month()
    for one in made(events, now).services:
        assert one.spans[0].begin == BEGIN
        assert one.spans[-1].end == END
        assert all(a.end == b.begin and a.state is not b.state for a, b in zip(one.spans, one.spans[1:], strict=False))
        assert sum(s.seconds for s in one.spans) == pytest.approx(MONTH)


def test_a_period_that_is_not_over_ends_now() -> None:
    now = status(now=at(10))
    assert made([], now).end == at(10)


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (1.0, "100.00000 %"),
        (0.99999999, "99.99999 %"),
        (0.9999871, "99.99871 %"),
        (0.0, "0.00000 %"),
        (0.9, "90.00000 %"),
        (None, "unknown"),
    ],
)
def test_percent_is_never_rounded_up(share: float | None, says: str) -> None:
    assert percent(share) == says


def test_the_month() -> None:
    """Everything at once, as the manual reads it."""
    events, now = month()
    report = made(events, now)
    down_s = {s.name: round(s.down_s, 3) for s in report.services}
    assert down_s == {"pacs": 95.9, "worklist": 0.9, "hl7": 0.9, "xds": 0.9}
    (worklist,) = [s for s in report.services if s.name == "worklist"]
    assert worklist.planned_s == 3 * 3600
    planned, unplanned = report.failovers
    assert (planned.before, planned.after, planned.person, planned.reason) == ("lb1", "lb2", "anna", "kernel update")
    assert (unplanned.before, unplanned.after, unplanned.planned) == ("lb2", "lb1", False)
    assert [c.sender for c in unplanned.cut] == ["- 198.51.100.61:4410", "CT_1 198.51.100.51:4711"]
    assert report.cut == []
    assert [(i.state, i.begin, i.end) for i in report.incidents] == [("no-active", at(20, 3), at(20, 3, 0.9))]
    (flap,) = report.flaps
    assert (flap.service, flap.member, flap.times, flap.worst) == ("xds", "xds-b", 8, 7)
    assert [(w.member, w.state, w.person) for w in report.work] == [
        ("pacs-b", "drain", "anna"),
        ("pacs-a", "drain", "anna"),
        ("ris-a", "halt", "bela"),
    ]
    assert all(s.unknown_s == 3600 for s in report.services)
    assert {s.state for s in report.services[0].spans} == {State.UP, State.DEGRADED, State.UNKNOWN, State.DOWN}


def test_one_service_alone() -> None:
    events, now = month()
    report = build(events, now, BEGIN, END, watched_from=BEGIN, service="hl7")
    assert [s.name for s in report.services] == ["hl7"]
    assert report.work == report.flaps == []


def test_work_that_is_still_going_on() -> None:
    (work,) = made([intent(at(29), "pacs-a", "ready", "drain")]).work
    assert work.end is None
    (work,) = made([intent(at(1), "pacs-a", "drain", "ready")]).work
    assert (work.begin, work.end) == (BEGIN, at(1))


def test_cuts_without_a_failover() -> None:
    cut = event(
        at(6), "failover", service="pacs", member="pacs-a", before="CT_1 198.51.100.51:1", after="cut", reason="halt"
    )
    assert [c.sender for c in made([cut]).cut] == ["CT_1 198.51.100.51:1"]


def test_slow_changes_are_no_flapping() -> None:
    events = [e for n in range(20) for e in down(at(3) + timedelta(minutes=6 * n), "pacs-a", 60)]
    assert made(events).flaps == []
