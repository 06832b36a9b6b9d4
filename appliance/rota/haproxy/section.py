"""The parts of a view, and the one way to write a word of haproxy.cfg."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field

# What haproxy's parser takes as it stands (configuration manual, 2.2 "Quoting and escaping").
_BARE = re.compile(r"[A-Za-z0-9_.:/@=+,()\[\]%^|!?*<>{}-]+")


@dataclass(frozen=True)
class Section:
    """One section of haproxy.cfg: what it is in the operator's words, its first line, and the lines below it."""

    comment: str
    head: str
    lines: list[str]


@dataclass(frozen=True)
class NeededFile:
    """A file that the configuration refers to and that the operator gives: `source` is relative to the inventory."""

    source: str
    name: str  # below /etc/haproxy


@dataclass(frozen=True)
class HaproxyView:
    """What HAProxy on `node` needs. All paths are relative to the folder of haproxy.cfg."""

    node: str
    sections: list[Section]
    maps: dict[str, str] = field(default_factory=dict)  # path → text
    certificates: list[NeededFile] = field(default_factory=list)
    pages: list[NeededFile] = field(default_factory=list)
    transparent_members: dict[str, list[str]] = field(default_factory=dict)  # "v4", "v6" → addresses

    def as_dict(self) -> dict[str, object]:
        """Plain types, as a template wants them."""
        return asdict(self)


def quote(text: str) -> str:
    """`text` as one word of haproxy.cfg: no character of it means anything to the parser."""
    if _BARE.fullmatch(text) and "//" not in text:
        return text
    escaped = re.sub(r'([\\"$])', r"\\\1", text)
    return f'"{escaped}"'


def literal(text: str) -> str:
    """`text` inside a log-format string: `%` means nothing."""
    return text.replace("%", "%%")


def span(milliseconds: int) -> str:
    """A length of time: haproxy knows ms, s, m, h and d."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms"


def endpoint(address: str, port: int | None) -> str:
    """`address:port`; without a port the one that the client used is meant. IPv6 stands in brackets."""
    host = f"[{address}]" if ":" in address else address
    return host if port is None else f"{host}:{port}"
