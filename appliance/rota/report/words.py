"""Times, lengths and the first sentence of a report."""

from __future__ import annotations

from datetime import datetime

from rota.report.model import Report, percent


def moment(value: datetime) -> str:
    """Local time to the second."""
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """`–`, `0.4 s`, `42 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`: what was is not rounded to nothing."""
    if seconds <= 0:
        return "–"
    if seconds < 10:
        return f"{max(seconds, 0.1):.1f} s"
    whole = round(seconds)
    for size, big, small, name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {big} {rest} {name}" if rest else f"{whole // size} {big}"
    return f"{whole} s"


def summary(report: Report) -> str:
    """The report in two or three sentences."""
    shares = [(s.availability, s.name) for s in report.services if s.availability is not None]
    unplanned = [o for o in report.outages if not o.planned]
    parts = []
    if shares:
        share, name = min(shares)
        parts.append(f"{len(report.services)} services; the least available was {name} with {percent(share)}.")
    else:
        parts.append(f"{len(report.services)} services; nothing was observed in this period.")
    count = len(report.failovers)
    many = "s" if len(unplanned) != 1 else ""
    parts.append(f"{len(unplanned)} outage{many}, {count} failover{'s' if count != 1 else ''}.")
    if report.incidents:
        parts.append("The pair was not well at times: see below.")
    if any(s.unknown_s for s in report.services):
        longest = max(s.unknown_s for s in report.services)
        parts.append(f"Up to {duration(longest)} of a service were not observed and count neither way.")
    return " ".join(parts)
