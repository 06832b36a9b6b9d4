"""The last pre-flight of each service, kept for the pages: what was found, when and by whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from rota.control import atomic
from rota.preflight.findings import Row

KEPT = Path("/var/lib/rota/preflight.json")


def keep(path: Path, rows: Sequence[Row], person: str, at: datetime) -> None:
    """Note `rows` as the last of their services; others stay. Nothing happens on a machine that is no node."""
    if not path.parent.is_dir():
        return
    known: dict[str, object] = {}
    with suppress(OSError, ValueError):
        known = dict(json.loads(path.read_text(encoding="utf-8")))
    for name in dict.fromkeys(row.service for row in rows):
        found = [row.as_dict() for row in rows if row.service == name]
        known[name] = {"at": at.isoformat(), "person": person, "rows": found}
    with suppress(OSError):  # not being root is no reason to fail: what was found has been printed
        atomic.write(path, json.dumps(known, indent=1), mode=0o644)
