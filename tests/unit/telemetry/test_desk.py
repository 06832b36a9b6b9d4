"""Which alarms become messages: each once, no flapping, one node of two, and a word when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from rota.control.config import BadConfig
from rota.control.notice.desk import Desk, Policy
from rota.control.notice.settings import read
from rota.control.state import Alarm

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHARED, OWN = "member-down:pacs/a", "journal"


class Watch:
    def __init__(self, policy: Policy | None = None) -> None:
        self.at = 0.0
        self.alarms: dict[str, Alarm] = {}
        self.speaks = True
        self.desk = Desk("lb1", "st-marys", policy or Policy(), lambda: self.at, lambda: NOON + timedelta(seconds=self.at))

    def up(self, key: str, severity: Literal["critical", "warning"] = "warning") -> None:
        self.alarms[key] = Alarm(key=key, severity=severity, text=f"{key} is bad", since=NOON)

    def down(self, key: str) -> None:
        del self.alarms[key]

    def after(self, seconds: float) -> list[tuple[str, str, int]]:
        """Look each second for so long; what was told: kind, key, times."""
        told = []
        end = self.at + seconds
        while self.at < end:
            self.at += 1
            told += [(n.kind, n.key, n.times) for n in self.desk.look(self.alarms.values(), speaks=self.speaks)]
        return told


def test_an_alarm_is_told_once_and_so_is_its_end() -> None:
    watch = Watch()
    watch.up(SHARED)
    assert watch.after(600) == [("raised", SHARED, 1)]
    watch.down(SHARED)
    assert watch.after(59) == []
    assert watch.after(600) == [("over", SHARED, 1)]


def test_what_lasts_only_a_moment_disturbs_nobody() -> None:
    watch = Watch()
    watch.up(SHARED)
    assert watch.after(4) == []
    watch.down(SHARED)
    assert watch.after(600) == []


def test_flapping_is_one_message_that_counts() -> None:
    watch = Watch()
    watch.up(SHARED)
    told = watch.after(10)
    for _ in range(20):
        watch.down(SHARED)
        told += watch.after(10)
        watch.up(SHARED)
        told += watch.after(10)
    watch.down(SHARED)
    told += watch.after(600)
    assert told == [("raised", SHARED, 1), ("over", SHARED, 21)]


def test_what_lasts_long_is_told_again_and_what_grows_worse_at_once() -> None:
    watch = Watch(Policy(repeat=100))
    watch.up(SHARED)
    assert watch.after(10) == [("raised", SHARED, 1)]
    watch.up(SHARED, "critical")
    assert watch.after(10) == [("raised", SHARED, 1)]
    assert watch.after(100) == [("still", SHARED, 1)]


def test_of_two_nodes_one_speaks() -> None:
    watch = Watch()
    watch.speaks = False
    watch.desk.peer_raised(SHARED)
    watch.up(SHARED)
    watch.up(OWN)
    assert watch.after(600) == [("raised", OWN, 1)]


def test_a_peer_that_does_not_see_it_does_not_silence_us() -> None:
    watch = Watch()
    watch.speaks = False
    watch.up(SHARED)
    assert watch.after(20) == []
    assert watch.after(10) == [("raised", SHARED, 1)]


def test_a_peer_that_is_gone_does_not_silence_us() -> None:
    watch = Watch()
    watch.speaks = False
    watch.desk.peer_raised(SHARED)
    watch.up(SHARED)
    watch.after(60)
    watch.desk.peer_cleared(SHARED)
    watch.speaks = True
    assert watch.after(3) == [("raised", SHARED, 1)]


def test_who_wants_only_the_critical_gets_only_that() -> None:
    watch = Watch(Policy(minimum="critical"))
    watch.up(SHARED)
    watch.up(OWN, "critical")
    assert watch.after(60) == [("raised", OWN, 1)]


MAIL = {"server": "mail.example", "from": "rota@example.org", "to": ["it@example.org"]}


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"mali": {}}, "alarms.mali is unknown"),
        ({"minimum": "all"}, "alarms.minimum: all is neither warning nor critical"),
        ({"settle_seconds": "5"}, "alarms.settle_seconds: '5' is not a number from 0 to 100000"),
        ({"mail": {**MAIL, "to": []}}, "alarms.mail.to is no list of mail addresses"),
        ({"mail": {**MAIL, "tls": "yes"}}, "alarms.mail.tls: yes is none of starttls, tls, none"),
        ({"mail": {**MAIL, "server": "a:b"}}, "alarms.mail.server: a:b is not HOST or HOST:PORT"),
        (
            {"mail": {**MAIL, "tls": "none", "credentials": "/x"}},
            "alarms.mail.credentials: a password must not go over a connection without TLS",
        ),
        ({"webhook": {"url": "ftp://x"}}, "alarms.webhook.url begins with neither https:// nor http://"),
        (
            {"webhook": {"url": "http://x", "credentials": "/x"}},
            "alarms.webhook.credentials: a secret must not go over a connection without TLS",
        ),
        ({"syslog": {}}, "alarms.syslog.server is missing, or no text"),
    ],
)
def test_a_mistake_is_one_line(table: dict[str, object], line: str) -> None:
    with pytest.raises(BadConfig) as problem:
        read({"alarms": table})
    assert str(problem.value) == line


def test_no_table_is_no_way_out() -> None:
    settings = read({})
    assert (settings.mail, settings.webhook, settings.syslog) == (None, None, None)


def test_servers_and_their_usual_ports() -> None:
    found = read({"alarms": {"mail": {**MAIL, "server": "[2001:db8::1]:2525"}, "syslog": {"server": "log.example"}}})
    assert found.mail
    assert found.syslog
    assert (found.mail.host, found.mail.port, found.syslog.port) == ("2001:db8::1", 2525, 6514)
