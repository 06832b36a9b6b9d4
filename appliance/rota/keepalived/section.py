"""The building blocks of a keepalived configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_INDENT = "    "


@dataclass(frozen=True)
class Section:
    """A top-level block: finished lines, and a comment for the reader (empty: none)."""

    comment: str
    lines: list[str]


def block(head: str, body: Iterable[str]) -> list[str]:
    """`head { body }`, one statement a line, indented."""
    return [f"{head} {{", *(_INDENT + line for line in body), "}"]


def seconds(milliseconds: int) -> str:
    """A length of time as keepalived reads it: 200 → `0.2`."""
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")
