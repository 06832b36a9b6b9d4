from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from rota.commands.times import future, length, local, past, size, span
from rota.said import Said

NOW = datetime(2026, 7, 10, 12, 0, tzinfo=UTC)  # 14:00 in Berlin


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1h 30min", 5400), ("3d", 259_200), ("45s", 45), ("1w", 604_800)],
)
def test_spans(text: str, seconds: int) -> None:
    assert span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-2h", "16:30", "2026-11-24", "1h x"])
def test_what_is_no_span(text: str) -> None:
    assert span(text) is None


@pytest.mark.parametrize(
    ("text", "hour", "day"),
    [
        ("16:30", 14.5, 10),
        ("13:00", 11, 11),
        ("2h", 14, 10),
        ("2026-07-10T16:30", 14.5, 10),
        ("2026-07-10T16:30Z", 16.5, 10),
    ],
)
def test_times_ahead(text: str, hour: float, day: int) -> None:
    assert future(text, NOW) == datetime(2026, 7, day, tzinfo=UTC) + timedelta(hours=hour)


def test_times_behind() -> None:
    assert past("13:00", NOW) == datetime(2026, 7, 10, 11, tzinfo=UTC)
    assert past("16:30", NOW) == datetime(2026, 7, 9, 14, 30, tzinfo=UTC)
    assert past("2026-07-01", NOW) == datetime(2026, 6, 30, 22, tzinfo=UTC), "midnight where the hospital is"


def test_a_time_of_day_over_the_change_of_clocks() -> None:
    """At 25 October 03:00 the clocks go back: 12:00 tomorrow is 25 hours away, not 24."""
    noon = datetime(2026, 10, 24, 10, 0, 1, tzinfo=UTC)
    assert future("12:00", noon) == datetime(2026, 10, 25, 11, tzinfo=UTC)


@pytest.mark.parametrize("text", ["tomorrow", "25:00", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Said, match="is no time"):
        future(text, NOW)


def test_what_has_passed() -> None:
    with pytest.raises(Said, match="has passed"):
        future("2026-07-10", NOW)


def test_words() -> None:
    assert [length(s) for s in (-1, 42, 720, 12_000, 40_000, 500_000)] == [
        "0 s",
        "42 s",
        "12 min",
        "3 h 20 min",
        "11 h",
        "5 d",
    ]
    assert [size(n) for n in (0, 999, 1000, 1_250_000, 123_456_789, 10**13)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "123 MB",
        "10.0 TB",
    ]
    assert local(NOW, NOW) == "14:00"
    assert local(NOW - timedelta(days=1), NOW) == "2026-07-09 14:00"
