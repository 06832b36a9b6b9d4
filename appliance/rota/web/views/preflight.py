"""What the last pre-flight on this node found, from the file in which `rota preflight` keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rota.web.views import words


@dataclass(frozen=True)
class Found:
    """One finding about one member."""

    node: str
    member: str
    subject: str
    level: str
    text: str


@dataclass(frozen=True)
class Preflight:
    """The last one of a service."""

    at: str
    person: str
    found: list[Found]


def last(path: Path, service: str) -> Preflight | None:
    """The last one; None when there was none, or when it cannot be read."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))[service]
        found = [
            Found(row["node"], row["member"], one["subject"], one["level"], one["text"])
            for row in kept["rows"]
            for one in row["findings"]
        ]
        return Preflight(words.stamp(datetime.fromisoformat(kept["at"])), kept["person"], found)
    except (OSError, ValueError, KeyError, TypeError):
        return None
