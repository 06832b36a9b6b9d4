"""The journal: which part of it, and as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rota.control.state import Event

MOST = 500  # on a page
HEADS = ("at", "node", "kind", "service", "member", "before", "after", "reason", "person")


@dataclass(frozen=True)
class Part:
    """What somebody wants to see of the journal."""

    service: str = ""
    kind: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def choose(self, events: Sequence[Event]) -> list[Event]:
        """Those that fit, the newest first."""
        needles = self.text.lower().split()
        found = [e for e in events if (not self.kind or e.kind == self.kind) and all(n in _text(e) for n in needles)]
        return found[::-1]


def _text(event: Event) -> str:
    parts = (event.node, event.service, event.member, event.before, event.after, event.reason, event.person)
    return " ".join(filter(None, parts)).lower()


def to_csv(events: Sequence[Event]) -> str:
    """Events as CSV (RFC 4180), times in UTC; nothing in it is taken for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(HEADS)
    for e in events:
        cells = (e.node, e.kind, e.service, e.member, e.before, e.after, e.reason, e.person)
        writer.writerow([f"{e.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", *(_harmless(cell or "") for cell in cells)])
    return out.getvalue()


def _harmless(value: str) -> str:
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
