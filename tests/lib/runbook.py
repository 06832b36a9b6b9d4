"""Reads docs/runbooks: what each step types, where, and what it should print."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs/runbooks"
# A page about a symptom is followed while the symptom is there: up to which step, and in which steps that makes a command
# exit with 1, as the page says.
SYMPTOMS = {
    "member-is-down": (5, {3}),
    "all-members-down": (5, {1, 2}),
    "answers-but-cannot-store": (4, set[int]()),
    "who-is-connected": (99, set[int]()),
    "standby-out-of-step": (4, set[int]()),
    "split-brain": (5, {1, 2}),
}
FACTS = ("Use when", "Do not use when", "Patient impact", "Time", "Undo")
_FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Step:
    """One step; `where` is the node that the fence names (`lb1`, `controller`), or None for either node."""

    title: str
    text: str
    commands: list[str] = field(default_factory=list)
    where: str | None = None
    expected: list[str] | None = None

    @property
    def number(self) -> int:
        """Its place on the page."""
        return int(self.title.partition(".")[0])

    @property
    def otherwise(self) -> bool:
        """Whether it says what to do when something else is seen."""
        return "\nOtherwise: " in self.text


@dataclass(frozen=True)
class Runbook:
    """One page."""

    path: Path
    title: str
    facts: dict[str, str]
    steps: list[Step]


def load(path: Path) -> Runbook:
    """Read one page; ValueError when a step has two fences of a kind."""
    text = path.read_text(encoding="utf-8")
    head, *parts = re.split(r"^### ", text, flags=re.M)
    facts = dict(re.findall(r"^- \*\*(.+?)\*\* (.+?)(?=^- \*\*|\n\n|\Z)", head, re.M | re.S))
    return Runbook(path, head.splitlines()[0].removeprefix("# "), facts, [_step(part) for part in parts])


def _step(part: str) -> Step:
    title, _, text = part.partition("\n")
    commands: list[str] = []
    where: str | None = None
    expected: list[str] | None = None
    for kind, place, body in _FENCE.findall(text):
        if kind == "sh":
            if commands:
                raise ValueError(f"{title}: two fences of commands")
            commands, where = body.splitlines(), place or None
        elif kind == "text":
            if expected is not None:
                raise ValueError(f"{title}: two fences of output")
            expected = body.splitlines()
    return Step(title, text, commands, where, expected)


def runbooks() -> list[Path]:
    """Every page but the index."""
    return sorted(p for p in FOLDER.glob("*.md") if p.name != "README.md")


def missing(expected: list[str], output: str) -> str | None:
    """The first expected line that `output` lacks, in order; None when it has all. `…` stands for anything, also nothing."""
    lines = iter(output.splitlines())
    for wanted in expected:
        pattern = ".*".join(re.escape(_squeezed(part).strip()) for part in wanted.split("…"))
        if wanted.strip() == "…":
            continue
        if not any(re.search(f"^ ?{pattern} ?$", _squeezed(line)) for line in lines):
            return wanted
    return None


def _squeezed(text: str) -> str:
    """Columns may be wider than on the page."""
    return re.sub(r"\s+", " ", text)
