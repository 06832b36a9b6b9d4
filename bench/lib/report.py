"""Medians with their spread, targets with their verdicts, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Sample:
    """What repeated measurements of one thing came to."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Median, lowest and highest of `values`."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def show(self, unit: str = "") -> str:
        """`1.4 ms (1.3–1.9)`."""
        return f"{figure(self.median)}{unit and ' ' + unit} ({figure(self.low)}–{figure(self.high)})"


@dataclass(frozen=True)
class Target:
    """A figure to reach, and what was reached."""

    what: str
    wanted: str
    reached: str
    met: bool

    @classmethod
    def at_most(cls, what: str, value: float, limit: float, unit: str = "") -> Target:
        """`value` should stay below `limit`."""
        return cls(what, f"< {limit:g} {unit}".strip(), f"{figure(value)} {unit}".strip(), value < limit)

    @classmethod
    def at_least(cls, what: str, value: float, limit: float, unit: str = "") -> Target:
        """`value` should be `limit` or more."""
        return cls(what, f"≥ {limit:g} {unit}".strip(), f"{figure(value)} {unit}".strip(), value >= limit)


@dataclass
class Report:
    """One measurement: its rows, its targets, and the machine it ran on."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, *cells: str) -> None:
        """Add one row."""
        self.rows.append(list(cells))

    def machine(self) -> str:
        """When and where this ran, and how busy the machine was with other work."""
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        before, after = self.load_before, os.getloadavg()[0]
        return f"{when}, {os.cpu_count()} cores, Linux {platform.release()}, load {before:.1f} before, {after:.1f} after"

    def as_dict(self) -> dict[str, object]:
        """Plain figures for a program."""
        return {
            "title": self.title,
            "machine": self.machine(),
            "figures": self.figures,
            "targets": [asdict(target) for target in self.targets],
            "notes": self.notes,
        }

    def print(self) -> None:
        """Print the tables for people."""
        console = Console(width=130, soft_wrap=False)
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        if self.targets:
            goals = Table("target", "wanted", "reached", "")
            for target in self.targets:
                goals.add_row(target.what, target.wanted, target.reached, "[green]met" if target.met else "[red]missed")
            console.print(goals)
        for note in self.notes:
            console.print(note)
        console.print(self.machine(), style="dim")


def show(reports: Sequence[Report], *, as_json: bool) -> None:
    """Print `reports`, as tables or as one JSON list."""
    if as_json:
        print(json.dumps([report.as_dict() for report in reports], indent=2, default=asdict, ensure_ascii=False))
        return
    for report in reports:
        report.print()


def figure(value: float) -> str:
    """`value` with three significant figures and no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.6f}"
