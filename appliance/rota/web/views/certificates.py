"""Certificates and the days that they have left, as far as this node knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from rota.control.state import Status
from rota.web.views.words import Tag

SOON = 30  # days
_DAYS = re.compile(r"(-?\d+) days to expiry on (\d{4}-\d\d-\d\d)")


@dataclass(frozen=True)
class Certificate:
    """One certificate. `days` None: not known."""

    where: str
    use: str
    ends: str
    days: int | None

    @property
    def tag(self) -> Tag:
        """How urgent it is."""
        if self.days is None:
            return Tag("Unknown", "unknown")
        text = "Expired" if self.days < 0 else f"{self.days} day{'' if self.days == 1 else 's'}"
        return Tag(text, "bad" if self.days < 7 else "warn" if self.days < SOON else "good")


def own(path: Path, now: datetime) -> Certificate:
    """That of these pages."""
    where, use = "this page", "what browsers see"
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return Certificate(where, use, "cannot be read", None)
    end = found.not_valid_after_utc
    return Certificate(where, use, f"{end:%Y-%m-%d}", (end - now).days)


def of_node(status: Status, now: datetime) -> Iterator[Certificate]:
    """That of this node for the other one, and those of its HAProxy."""
    if status.certificate_ends is not None:
        end = status.certificate_ends
        yield Certificate(status.node, "what it shows to the other node", f"{end:%Y-%m-%d}", (end - now).days)
    for one in status.certificates:
        yield Certificate(one.name, f"what HAProxy on {status.node} shows", f"{one.ends:%Y-%m-%d}", (one.ends - now).days)


def watched(status: Status) -> Iterator[Certificate]:
    """Those that deep checks look at."""
    for service in status.services:
        for member in service.members:
            if found := _DAYS.search(f"{member.deep or ''} {member.reason}"):
                yield Certificate(f"{service.name}/{member.name}", "what the member shows", found[2], int(found[1]))


def warnings(status: Status) -> list[str]:
    """Alarms about certificates, those between the nodes among them."""
    return [a.text for a in status.alarms if "certificate" in f"{a.key} {a.text}".lower()]


def everything(status: Status | None, own_path: Path) -> list[Certificate]:
    """All of them, the one that ends first at the top."""
    now = datetime.now(UTC)
    found = [own(own_path, now), *((*of_node(status, now), *watched(status)) if status else ())]
    return sorted(found, key=lambda c: (c.days is None, c.days or 0))
