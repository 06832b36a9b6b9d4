"""How the command shows things: words first, colour second, plain when nobody looks (a pipe, NO_COLOR)."""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import typer

from rota.control.state import Event, Intent, IntentState, Verdict, Window

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PLAIN_WIDTH = 240  # a pipe has no width: nothing is folded, so that grep finds whole lines
VERDICT_STYLE = {
    Verdict.UP: "green",
    Verdict.DOWN: "bold red",
    Verdict.CANNOT_STORE: "bold magenta",
    Verdict.UNKNOWN: "bold yellow",
}
SERVICE_STYLE = {"up": "bold green", "degraded": "bold yellow", "down": "bold red", "unknown": "bold yellow"}


def console(file: IO[str] | None = None) -> Console:
    """Where things are shown."""
    from rich.console import Console

    out = file or sys.stdout
    terminal = out.isatty()
    return Console(
        file=out, width=None if terminal else PLAIN_WIDTH, highlight=False, markup=False, emoji=False, soft_wrap=not terminal
    )


RIGHT = ("OPEN", "IN", "OUT", "AGE")


def rows(columns: Sequence[str], cells: Sequence[Sequence[Text | str]], least: Sequence[int]) -> Text:
    """The same look as `table` where nothing has to be folded, at a twentieth of its cost: a site has a thousand rows.

    `least` are the columns' least widths; columns beyond its end have none.
    """
    from rich.text import Span, Text

    shown = [[(cell, "") if isinstance(cell, str) else (cell.plain, str(cell.style)) for cell in line] for line in cells]
    lines = [[(column, "dim") for column in columns], *shown]
    widths = [max(_wide(line[n][0]) for line in lines) for n in range(len(columns))]
    widths = [max(width, *least[n : n + 1]) if least[n : n + 1] else width for n, width in enumerate(widths)]
    parts: list[str] = []
    spans: list[Span] = []
    at = 0
    for number, line in enumerate(lines):
        for n, ((cell, style), width) in enumerate(zip(line, widths, strict=True)):
            room = " " * (width - _wide(cell))
            before = ("\n" if number and not n else "") + (room if columns[n] in RIGHT else "")
            after = "" if n + 1 == len(widths) else "  " if columns[n] in RIGHT else room + "  "
            if style and cell:
                spans.append(Span(at + len(before), at + len(before) + len(cell), style))
            parts += (before, cell, after)
            at += len(before) + len(cell) + len(after)
    return Text("".join(parts), no_wrap=True, spans=spans)


def _wide(value: str) -> int:
    """Columns of a terminal that it takes."""
    if value.isascii():
        return len(value)
    from rich.cells import cell_len

    return cell_len(value)


def table(*columns: str) -> Table:
    """A table without lines, whose columns are told by their headings."""
    from rich.table import Table

    found = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        found.add_column(column, justify="right" if column in RIGHT else "left", overflow="fold")
    return found


def text(value: object, style: str = "") -> Text:
    """`value` with a style; what a peer sent must not steer the terminal."""
    from rich.text import Text

    return Text(clean(str(value)), style=style)


def clean(value: str) -> str:
    """`value` without control characters: names and reasons come from the network."""
    return value if value.isprintable() else "".join(c if c.isprintable() else "�" for c in value)


def verdict(value: Verdict) -> Text:
    """A verdict: its word says it, the colour only helps."""
    return text(value.value, VERDICT_STYLE[value])


def intent(value: Intent | None) -> str:
    """`drain until 16:30 by anna: patching`; nothing for a member that is simply ready."""
    if value is None or value.state is IntentState.READY:
        return ""
    from datetime import UTC, datetime

    from rota.commands.times import local

    until = f" until {local(value.until, datetime.now(UTC))}" if value.until else ""
    return f"{value.state}{until} by {value.person}: {value.reason}"


def window(value: Window) -> str:
    """`3f9a01  pacs/pacs-b: drain 2026-11-30 02:00 to 2026-11-30 04:00, planned by anna: patching`."""
    from rota.commands.times import local

    what = f"{value.service}/{value.member}" if value.service else f"{value.member} in all its services"
    force = ", even as the last member" if value.force else ""
    outcome = f" ({value.outcome})" if value.outcome else ""
    return (
        f"{value.id}  {what}: {value.state} {local(value.starts)} to {local(value.until)}{force},"
        f" {value.phase.value.replace('-', ' ')}{outcome}; {value.person}: {value.reason}"
    )


def event(value: Event) -> Text:
    """One line of the journal."""
    from rich.text import Text

    what = "/".join(filter(None, (value.service, value.member)))
    change = " → ".join(filter(None, (value.before, value.after)))
    style = {
        "up": "green", "active": "green", "down": "bold red", "cannot-store": "bold magenta", "unknown": "bold yellow",
        "split-brain": "bold red", "no-active": "bold red", "raised": "bold red", "unreachable": "bold yellow",
        "drain": "cyan", "halt": "cyan", "ready": "cyan",
    }.get(value.after or "", "")  # fmt: skip
    line = Text(f"{value.at.astimezone():%Y-%m-%d %H:%M:%S}  {clean(value.node)}  ", style="")
    line.append(f"{value.kind:<8}  ", "dim")
    line.append(clean(f"{what}  " if what else ""))
    line.append(clean(change), style)
    if value.reason:
        line.append(clean(f"  {value.reason}"))
    if value.person:
        line.append(clean(f"  ({value.person})"), "dim")
    return line


def emit(value: Any) -> None:
    """Print JSON for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def person() -> str | None:
    """For whom root acts: who called sudo, else who logged in. None for other users: the kernel names them."""
    if os.geteuid() != 0:
        return None
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        with open("/proc/self/loginuid") as file:
            return pwd.getpwuid(int(file.read())).pw_name
    except (OSError, ValueError, KeyError, OverflowError):
        return None
