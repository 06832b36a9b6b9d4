"""Times as people type and read them. Typed times without an offset are local; what is stored is UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from rota.said import Said

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
HOW = "write 90m, 2h, 3d, 16:30, 2026-11-24 or 2026-11-24T16:30"


def span(text: str) -> timedelta | None:
    """`90m`, `2h`, `1h30m`, `3d`: a length of time, or None when `text` is none."""
    parts = re.findall(r"(\d+)\s*(min|[smhdw])", text)
    if not parts or re.sub(r"(\d+)\s*(min|[smhdw])\s*", "", text.strip()):
        return None
    return timedelta(seconds=min(sum(int(number) * _UNITS[unit] for number, unit in parts), 10**9))


def past(text: str, now: datetime) -> datetime:
    """A moment that lies behind: a length of time ago, a time of day (the last one), a date, or RFC 3339."""
    length = span(text)
    if length is not None:
        return now - length
    clock = _clock(text, now)
    if clock is not None:
        return clock if clock <= now else _day(clock, -1)
    return _iso(text)


def future(text: str, now: datetime) -> datetime:
    """A moment that lies ahead: a length of time from now, a time of day (the next one), a date, or RFC 3339."""
    length = span(text)
    if length is not None:
        return now + length
    clock = _clock(text, now)
    if clock is not None:
        return clock if clock > now else _day(clock, 1)
    moment = _iso(text)
    if moment <= now:
        raise Said(f"{text} has passed")
    return moment


def after(text: str, begin: datetime) -> datetime:
    """A moment that lies after `begin`: a length of time from it, the next such time of day, a date, or RFC 3339."""
    try:
        return future(text, begin)
    except Said:
        if _moment(text):
            raise Said(f"{text} is not after the begin") from None
        raise


def _moment(text: str) -> bool:
    try:
        _iso(text)
    except Said:
        return False
    return True


def _clock(text: str, now: datetime) -> datetime | None:
    match = re.fullmatch(r"(\d{1,2}):(\d\d)", text.strip())
    if not match:
        return None
    try:
        wanted = now.astimezone().replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0, tzinfo=None)
    except ValueError:
        raise Said(f"{text!r} is no time: {HOW}") from None
    return wanted.astimezone(UTC)


def _day(moment: datetime, days: int) -> datetime:
    """The same time of day on another day, through a change of the clocks too."""
    return (moment.astimezone().replace(tzinfo=None) + timedelta(days=days)).astimezone(UTC)


def _iso(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC)  # a time without offset is local time
    except (ValueError, OverflowError):
        raise Said(f"{text!r} is no time: {HOW}") from None


def local(moment: datetime, now: datetime | None = None) -> str:
    """`16:30` today, else with its date, in local time."""
    there = moment.astimezone()
    if now is not None and there.date() == now.astimezone().date():
        return f"{there:%H:%M}"
    return f"{there:%Y-%m-%d %H:%M}"


def length(seconds: float) -> str:
    """`42 s`, `12 min`, `3 h 20 min`, `5 d`: two units at most."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        hours, minutes = whole // 3600, whole % 3600 // 60
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    return f"{whole // 86_400} d"


def size(count: int) -> str:
    """`512 B`, `1.2 MB`: decimal units, as networks have them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
