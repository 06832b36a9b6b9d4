"""The support bundle: what a helper from afar needs, and nothing that is a secret or tells of a patient or a person.

Left out: keys, passwords and credentials, addresses of callers, names of people (each becomes `person-1`, …).
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rota.control.state import Event, Status

CONTENTS = (
    ("status.json", "what rotad said at that moment: services, members, nodes, alarms"),
    ("events.json", "the last 2,000 events of the journal"),
    ("site.json", "the model of the site, without the names of files with credentials"),
    ("versions.txt", "versions of Rota and of what it runs on"),
)
EVENTS = 2_000
_CALLER = re.compile(
    r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b|\[?\b[0-9a-fA-F]{1,4}:[0-9a-fA-F:.]*::?[0-9a-fA-F.]+\b(?:\]:\d+)?"
)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SECRET = re.compile(r"secret|password|passwd|credential|token|key$", re.I)


class Masks:
    """Names of people, each replaced by the same word wherever it stands."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def person(self, name: str | None) -> str | None:
        """The word for a name; rotad's own acts stay its own."""
        if name is None or name in ("rotad", "root"):
            return name
        return self._known.setdefault(name, f"person-{len(self._known) + 1}")

    def text(self, value: str) -> str:
        """Words without people, their addresses, and callers."""
        for name, word in self._known.items():
            value = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", word, value)
        return _CALLER.sub("(caller)", _MAIL.sub("(mail)", value))


def make(status: Status, events: Sequence[Event], site: dict[str, Any] | None, versions: str, at: datetime) -> bytes:
    """The archive, its list of contents first."""
    masks = Masks()
    for event in events:
        masks.person(event.person)
    for service in status.services:
        for member in service.members:
            masks.person(member.intent.person if member.intent else None)
    for window in status.windows:
        masks.person(window.person)
    told = [_clean(event.model_dump(mode="json"), masks) for event in events]
    files = {
        "status.json": json.dumps(_clean(status.model_dump(mode="json"), masks), indent=1),
        "events.json": json.dumps(told, indent=0),
        "site.json": json.dumps(_clean(site, masks), indent=1) if site else "the model cannot be read\n",
        "versions.txt": versions,
    }
    head = [
        f"Support bundle of {status.node}, {at:%Y-%m-%d %H:%M:%S} UTC. No patient data, no secrets, no names of people.",
        "",
    ]
    contents = "\n".join([*head, *(f"{name}  {words}" for name, words in CONTENTS)]) + "\n"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in {"CONTENTS.txt": contents, **files}.items():
            info = tarfile.TarInfo(f"rota-support-{status.node}/{name}")
            info.size, info.mtime = len(text.encode()), int(at.timestamp())
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def _clean(value: Any, masks: Masks, key: str = "") -> Any:
    if isinstance(value, dict):
        return {
            name: "(left out)" if _SECRET.search(name) and one else _clean(one, masks, name) for name, one in value.items()
        }
    if isinstance(value, list):
        return [_clean(one, masks, key) for one in value]
    if not isinstance(value, str):
        return value
    if key == "person":
        return masks.person(value)
    if key in ("reason", "before", "text", "problem", "deep", "description", "outcome"):
        return masks.text(value)
    return value
