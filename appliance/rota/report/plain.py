"""The report for programs: CSV with one kind of row, and JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rota.report.model import Report, percent

COLUMNS = ["record", "service", "member", "from", "to", "seconds", "kind", "availability", "person", "text"]


def as_csv(report: Report) -> str:
    """One row per service, outage, failover, cut sender, planned work and flapping check; times in UTC."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for row in _rows(report):
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def _rows(report: Report) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    period = {"from": report.begin, "to": report.end}
    for s in report.services:
        share = percent(s.availability).removesuffix(" %")
        rows.append({"record": "availability", "service": s.name, **period, "seconds": s.seconds, "availability": share})
        parts = {"down": s.down_s, "planned": s.planned_s, "reduced": s.degraded_s, "not-observed": s.unknown_s}
        rows += [{"record": "time", "service": s.name, **period, "kind": k, "seconds": n} for k, n in parts.items()]
    for o in report.outages:
        kind = "planned" if o.planned else "outage"
        rows.append({"record": "outage", "service": o.service, "from": o.begin, "to": None if o.open else o.end,
                     "seconds": o.seconds, "kind": kind, "text": o.cause})  # fmt: skip
    for f in report.failovers:
        text = f"group {f.group}: {f.before} to {f.after}. {f.reason}".strip()
        kind = "planned" if f.planned else "unplanned"
        rows.append({"record": "failover", "from": f.at, "kind": kind, "person": f.person, "text": text})
    for c in [*(c for f in report.failovers for c in f.cut), *report.cut]:
        text = f"{c.sender}: {c.note}"
        rows.append({"record": "cut", "service": c.service, "member": c.member, "from": c.at, "text": text})
    for i in report.incidents:
        rows.append({"record": "pair", "from": i.begin, "to": i.end, "kind": i.state, "text": f"group {i.group}"})
    for w in report.work:
        rows.append({"record": "work", "service": w.service, "member": w.member, "from": w.begin, "to": w.end,
                     "kind": w.state, "person": w.person, "text": w.reason})  # fmt: skip
    for p in report.flaps:
        text = f"went down {p.times} times, {p.worst} within ten minutes: {p.reason}"
        rows.append({"record": "flap", "service": p.service, "member": p.member, "from": p.worst_at, "text": text})
    rows += [{"record": "certificate", "text": text} for text in report.certificates]
    return rows


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return _utc(value)
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    # A spreadsheet runs what begins so, and reasons come from the network (OWASP: CSV injection).
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def as_json(report: Report) -> dict[str, Any]:
    """Everything, with times in UTC and the availability beside the numbers that it is made of."""
    document: dict[str, Any] = _plain(asdict(report))
    for service, one in zip(document["services"], report.services, strict=True):
        service["availability"] = one.availability
    return document


def as_text(report: Report) -> str:
    """JSON as text."""
    return json.dumps(as_json(report), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return _utc(value)
    return value.name.lower() if hasattr(value, "name") else value


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
