"""`rota preflight`: before a service goes live, and after every change of a network or of a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rota.said import Said

if TYPE_CHECKING:
    from rich.console import Console

    from rota.preflight.findings import Row
    from rota.preflight.sheet import Line

EPILOG = "Example: rota preflight pacs"
_STYLES = {"ok": "green", "warn": "yellow", "block": "bold red", "unknown": "dim"}
_MARKS = {"ok": "ok", "warn": "WARN", "block": "BLOCK", "unknown": "?"}


def preflight(
    service: Annotated[str | None, typer.Argument(help="One service. Unset: all.", show_default=False)] = None,
    site: Annotated[Path, typer.Option("--site", metavar="PATH", help="The model.")] = Path("/etc/rota/site.json"),
    node: Annotated[str | None, typer.Option("--node", metavar="NAME", help="This node's name. Unset: as rotad's.")] = None,
    files: Annotated[Path, typer.Option("--files", metavar="DIR", help="Certificates of members.")] = Path(
        "/etc/haproxy/certs"
    ),
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the vendor's list as CSV; - is stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at every member from this node, and print what to hand to the vendors for their allow-lists.

    Needs root for the path's MTU and for direct routing. Run it on each node: each has its own way to the members.
    Exit 1 when something blocks.

    Example: rota preflight pacs
    """
    from rota.commands import show
    from rota.model import load
    from rota.preflight.look import look
    from rota.preflight.sheet import lines, to_csv

    found = load(site)
    if found.site is None:
        first = next(p for p in found.problems if not p.warning)
        raise Said(f"{site}: {first}")
    if service is not None and service not in found.site.services:
        raise Said(f"there is no service {service!r}; there are: {', '.join(found.site.services) or 'none'}")
    name = node or _own_name(list(found.site.site.nodes))
    if name not in found.site.site.nodes:
        raise Said(f"{name} is not a node of the site; give --node")
    rows = asyncio.run(look(found.site, name, service, files))
    sheet = list(lines(found.site, service))
    blocked = any(row.blocks for row in rows)
    if csv is not None:
        if str(csv) == "-":
            typer.echo(to_csv(sheet), nl=False)
            raise typer.Exit(1 if blocked else 0)
        csv.write_text(to_csv(sheet), encoding="utf-8")
    if as_json:
        show.emit({"node": name, "rows": [r.as_dict() for r in rows], "allow": [vars(s) for s in sheet], "blocks": blocked})
    else:
        out = show.console()
        _table(out, name, rows)
        _sheet(out, sheet)
    raise typer.Exit(1 if blocked else 0)


def _own_name(nodes: list[str]) -> str:
    import socket

    from rota.control.config import DEFAULT, BadConfig, load

    try:
        return load(DEFAULT).node
    except BadConfig:
        pass
    own = socket.gethostname()
    return next((name for name in nodes if name in (own, own.partition(".")[0])), own)


def _table(out: Console, node: str, rows: list[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    from rota.commands import show
    from rota.preflight.findings import Subject

    table = Table(title=f"Seen from {node}", title_justify="left", box=None, pad_edge=False)
    table.add_column("member")
    for subject in Subject:
        table.add_column(subject.value)
    for row in rows:
        cells = [Text(f"{row.service}/{row.member}")]
        for subject in Subject:
            finding = row.of(subject)
            level = finding.level.value if finding else ""
            cells.append(Text(_MARKS.get(level, "-"), style=_STYLES.get(level, "dim")))
        table.add_row(*cells)
    out.print(table)
    for row in rows:
        out.print()
        out.print(Text(f"{row.service}/{row.member}  {row.address} port {row.port}", style="bold"))
        for finding in row.findings:
            mark = Text(f"  {_MARKS[finding.level]:<6}", style=_STYLES[finding.level])
            out.print(mark + show.text(f"{finding.subject:<7} {finding.text}"), soft_wrap=True)


def _sheet(out: Console, sheet: list[Line]) -> None:
    from rich.table import Table
    from rich.text import Text

    out.print()
    table = Table(title="For the vendors' allow-lists", title_justify="left", box=None, pad_edge=False)
    for column in ("member", "at", "port", "must allow", "node", "calling AE", "called AE", "for"):
        table.add_column(column, overflow="fold")
    for s in sheet:
        cells = (f"{s.service}/{s.member}", s.member_address, s.member_port, s.from_address, s.from_node, s.calling_ae)
        table.add_row(*(Text(cell) for cell in (*cells, s.called_ae, s.purpose)))
    out.print(table)
