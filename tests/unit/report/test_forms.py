from __future__ import annotations

import csv
import gc
import io
import json
import re
import time
from datetime import timedelta
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rota.control.state import Event
from rota.report.build import build
from rota.report.html import html
from rota.report.model import Report, Span, State
from rota.report.plain import as_csv, as_json
from rota.report.svg import SLICES, slices, timeline
from rota.report.words import duration, summary
from unit.api.double import member, service
from unit.commands.conftest import Rotad, Run
from unit.report.journal import BEGIN, END, at, down, event, month, status, verdict

pytest_plugins: list[str] = []


@pytest.fixture(scope="module")
def report() -> Report:
    events, now = month()
    return build(events, now, BEGIN, END, watched_from=BEGIN)


class Reader(HTMLParser):
    """Collects the tags, and fails on one that is not closed in its place."""

    VOID = frozenset({"meta", "path", "rect", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_fetches_nothing(report: Report) -> None:
    text = html(report)
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert not [attributes for _, attributes in reader.tags if {"src", "href", "srcset", "background"} & attributes.keys()]
    assert not re.search(r"url\((?!#)|@import|<script|<link|<img", text)
    assert "default-src 'none'" in text


def test_html_can_be_read_aloud(report: Report) -> None:
    reader = Reader()
    reader.feed(html(report))
    tags = reader.tags
    assert ("html", {"lang": "en-GB"}) in tags
    tables = sum(tag == "table" for tag, _ in tags)
    assert tables == sum(tag == "caption" for tag, _ in tags)
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    (picture,) = [attributes for tag, attributes in tags if tag == "svg" and attributes.get("role") == "img"]
    assert picture["aria-labelledby"] == "t1 t2"


def test_html_says_what_happened(report: Report) -> None:
    text = html(report)
    for words in (
        "99.996",
        "kernel update",
        "planned by anna",
        "may hold one unacknowledged message",
        "CT_1 198.51.100.51:4711",
        "no-active",
        "new server",
    ):
        assert words in text, words


def test_what_a_peer_sent_stays_text() -> None:
    events = [verdict(at(3), m, "up", "down", reason='<script>alert("x")</script>') for m in ("pacs-a", "pacs-b")]
    text = html(build(events, status(), BEGIN, END, watched_from=BEGIN))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_an_empty_month_has_words_too() -> None:
    text = html(build([], status(), BEGIN, END, watched_from=None))
    assert "nothing was observed" in text
    assert text.count("There was none.") == 4


class TestTimeline:
    def test_it_is_xml_with_a_bar_for_every_service(self, report: Report) -> None:
        root = ElementTree.fromstring(timeline(report))  # noqa: S314  # our own text
        labels = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"pacs", "worklist", "hl7", "xds"} <= set(labels)
        assert len(timeline(report)) < 30_000

    def test_an_outage_of_a_second_is_seen(self) -> None:
        middle = BEGIN + (END - BEGIN) / 2
        spans = [
            Span(BEGIN, middle, State.UP),
            Span(middle, middle + timedelta(seconds=1), State.DOWN),
            Span(middle + timedelta(seconds=1), END, State.UP),
        ]
        found = slices(spans, BEGIN, END)
        assert [state for _, _, state in found] == [State.UP, State.DOWN, State.UP]
        assert found[0][0] == 0
        assert found[-1][1] == SLICES

    def test_a_thousand_flaps_stay_a_small_picture(self) -> None:
        events = [e for n in range(5000) for e in down(at(0, 0, 500 * n), "pacs-a", 60)]
        found = build(events, status(), BEGIN, END, watched_from=BEGIN)
        assert len(timeline(found)) < 200_000


def test_csv_has_one_shape(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    kinds = {row["record"] for row in rows}
    assert kinds == {"availability", "time", "outage", "failover", "cut", "pair", "work", "flap"}
    (pacs,) = [row for row in rows if row["record"] == "availability" and row["service"] == "pacs"]
    assert pacs["availability"] == "99.99629"
    assert pacs["from"] == "2026-10-01T00:00:00.000Z"


def test_csv_runs_no_formula() -> None:
    events = [
        event(
            at(3),
            "intent",
            service="pacs",
            member="pacs-a",
            before="ready",
            after="drain",
            person="anna",
            reason="=HYPERLINK()",
        )
    ]
    text = as_csv(build(events, status(), BEGIN, END, watched_from=BEGIN))
    assert "'=HYPERLINK()" in text


def test_json_has_everything(report: Report) -> None:
    document = json.loads(json.dumps(as_json(report)))
    assert document["services"][0]["availability"] == pytest.approx(0.99996296, abs=1e-7)
    assert document["services"][0]["spans"][0]["state"] == "up"
    assert document["outages"][0]["begin"].endswith("Z")
    assert document["failovers"][1]["cut"][0]["sender"] == "- 198.51.100.61:4410"


def test_the_first_sentence(report: Report) -> None:
    assert summary(report).startswith("4 services; the least available was pacs with 99.99629 %. 5 outages, 2 failovers.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "–"),
        (0.04, "0.1 s"),
        (0.9, "0.9 s"),
        (42, "42 s"),
        (725, "12 min 5 s"),
        (7200, "2 h"),
        (12_000, "3 h 20 min"),
        (190_000, "2 d 4 h"),
    ],
)
def test_lengths(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_busy_month_takes_under_two_seconds() -> None:
    """50,000 events over 50 services. Counted is the processor's time, without the search for garbage, as in the command."""
    names = [f"service-{n}" for n in range(50)]
    services = [service(name, [member("a"), member("b")]) for name in names]
    events: list[Event] = []
    for n in range(25_000):
        events += down(at(0, 0, 100 * n), "ab"[n % 2], 20, service=names[n % 50])
    events.sort(key=lambda e: e.at)
    now = status(services)
    taken = []
    for _ in range(2):
        gc.disable()
        began = time.process_time()
        html(build(events, now, BEGIN, END, watched_from=BEGIN))
        taken.append(time.process_time() - began)
        gc.enable()
    assert min(taken) < 2, taken


class TestCommand:
    @pytest.fixture
    def filled(self, rotad: Rotad, monkeypatch: pytest.MonkeyPatch) -> Rotad:
        events, now = month()
        rotad.double.journal = events
        rotad.double.services = now.services
        monkeypatch.setattr(rotad.double, "status", lambda: now)
        return rotad

    PERIOD = ("--from", "2026-10-01T00:00Z", "--to", "2026-10-31T00:00Z")

    def test_in_a_terminal(self, filled: Rotad, run: Run) -> None:
        ran = run("report", *self.PERIOD)
        assert ran.code == 0
        assert "pacs      99.99" in ran.out
        assert "failover" in ran.out

    def test_into_a_file(self, filled: Rotad, run: Run, tmp_path: object) -> None:
        path = f"{tmp_path}/october.html"
        ran = run("report", *self.PERIOD, "--html", "-o", path)
        assert (ran.code, ran.out, ran.err) == (0, "", f"written to {path}\n")
        with open(path) as file:
            assert file.read().startswith("<!DOCTYPE html>")

    def test_for_programs(self, filled: Rotad, run: Run) -> None:
        assert len(json.loads(run("report", *self.PERIOD, "--json", "--service", "pacs").out)["services"]) == 1
        assert run("report", *self.PERIOD, "--csv").out.startswith("record,service,member")

    def test_the_journal_began_within_the_period(self, filled: Rotad, run: Run) -> None:
        """The first event is of day two: what was before it is not counted as up."""
        document = json.loads(run("report", *self.PERIOD, "--json").out)
        assert document["watched_from"] == "2026-10-03T20:00:00.000Z"
        assert document["services"][0]["unknown_s"] == pytest.approx(3600 + 2 * 86_400 + 20 * 3600)

    @pytest.mark.parametrize(
        ("argv", "says"),
        [
            (["--html", "--csv"], "one of"),
            (["--from", "2026-10-31", "--to", "2026-10-01"], "the period is empty"),
            (["--from", "never"], "is no time"),
            (["-o", "x.html"], "in which form"),
            (["--service", "nope"], "no service 'nope'"),
            (["--html", "-o", "/nonexistent/x.html"], "No such file"),
        ],
    )
    def test_a_wrong_command_says_why(self, filled: Rotad, run: Run, argv: list[str], says: str) -> None:
        ran = run("report", *argv)
        assert ran.code == 1
        assert says in ran.err
        assert len(ran.err.splitlines()) == 1
