"""The building blocks of an nftables table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

_INDENT = "\t"


@dataclass(frozen=True)
class Section:
    """One object of the table: finished lines, and a comment for the reader."""

    comment: str
    lines: list[str]


@dataclass(frozen=True)
class FirewallView:
    """What the packet filter of `node` needs: the table in sections, and the networks that must reach the node."""

    node: str
    sections: list[Section]
    management: list[str]

    def as_dict(self) -> dict[str, object]:
        """Plain types, as a template wants them."""
        return asdict(self)


def block(head: str, body: Iterable[str]) -> list[str]:
    """`head { body }`, one statement a line, indented."""
    return [f"{head} {{", *(_INDENT + line for line in body), "}"]


def ports(numbers: Iterable[int]) -> str:
    """Ports as one anonymous set: {22, 443} → `{ 22, 443 }`."""
    return f"{{ {', '.join(map(str, sorted(set(numbers))))} }}"


def separated(elements: list[str]) -> list[str]:
    """One element a line, with a comma behind each but the last."""
    return [*(f"{line}," for line in elements[:-1]), *elements[-1:]]
