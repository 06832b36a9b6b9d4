"""What pre-flight can find, and how bad it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARN = "warn"  # works, and will hurt somebody
    BLOCK = "block"  # the service cannot work like this
    UNKNOWN = "unknown"  # could not be found out; never shown as ok


class Subject(StrEnum):
    """What was looked at, in the order in which it is shown."""

    REACH = "reach"
    CHECK = "check"
    SOURCE = "source"
    NAME = "name"
    MTU = "mtu"
    LAYER2 = "layer2"
    TLS = "tls"
    CLOCK = "clock"
    PDU = "pdu"
    TIMES = "times"


@dataclass(frozen=True)
class Finding:
    """One thing about one member, in one line of words."""

    subject: Subject
    level: Level
    text: str


@dataclass(frozen=True)
class Row:
    """Everything that one node found about one member of one service."""

    node: str
    service: str
    member: str
    address: str
    port: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def blocks(self) -> bool:
        """Whether something stands in the way."""
        return any(finding.level is Level.BLOCK for finding in self.findings)

    def of(self, subject: Subject) -> Finding | None:
        """The finding about `subject`, if it was looked at."""
        return next((finding for finding in self.findings if finding.subject is subject), None)

    def as_dict(self) -> dict[str, object]:
        """Plain types."""
        return {**asdict(self), "blocks": self.blocks}
