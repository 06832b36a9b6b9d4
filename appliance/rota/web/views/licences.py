"""What Rota is built from, and under which terms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import distributions
from typing import cast


@dataclass(frozen=True)
class Part:
    """One part: its name, version and licence."""

    name: str
    version: str
    licence: str


SYSTEM = (
    Part("HAProxy", "3.0, of Debian", "GPL-2.0-or-later"),
    Part("Keepalived", "2.3, of Debian", "GPL-2.0-or-later"),
    Part("Linux (IPVS, nftables)", "6.12, of Debian", "GPL-2.0-only"),
    Part("systemd", "257, of Debian", "LGPL-2.1-or-later"),
    Part("NHS.UK frontend (style sheet and scripts of these pages)", "10.6.1", "MIT, Crown Copyright NHS England"),
)


def python() -> list[Part]:
    """The Python packages of this installation."""
    found = {}
    for one in distributions():
        data = cast(Message, one.metadata)
        said = data.get("License-Expression") or _classified(data.get_all("Classifier") or []) or data.get("License")
        name, text = data["Name"], said or "see its page"
        if name and name.lower() != "rota":
            found[name.lower()] = Part(name, one.version, text.splitlines()[0][:60])
    return [found[name] for name in sorted(found)]


def _classified(classifiers: list[str]) -> str:
    found = [re.sub(r"^License :: (OSI Approved :: )?", "", c) for c in classifiers if c.startswith("License ::")]
    return ", ".join(found)
