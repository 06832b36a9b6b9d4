"""`rota preflight`: before a service goes live, and after every change of a network or of a server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
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
    config: Annotated[Path, typer.Option("--config", metavar="PATH", help="Configuration of rotad.")] = Path(
        "/etc/rota/rotad.toml"
    ),
    here: Annotated[bool, typer.Option("--here", help="From this node alone.")] = False,
    files: Annotated[Path, typer.Option("--files", metavar="DIR", help="Certificates of members.")] = Path(
        "/etc/haproxy/certs"
    ),
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the vendor's list as CSV; - is stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at every member from each node, and print what to hand to the vendors for their allow-lists.

    Needs root: it reads rotad's key to ask the other node, and looks at the path's MTU and at direct routing.
    Exit 1 when something blocks, or when a node cannot be asked.

    Example: rota preflight pacs
    """
    from rota.commands import show
    from rota.model import load
    from rota.preflight.kept import KEPT, keep
    from rota.preflight.nodes import every_node, own_config
    from rota.preflight.sheet import lines, to_csv

    found = load(site)
    if found.site is None:
        first = next(p for p in found.problems if not p.warning)
        raise Said(f"{site}: {first}")
    if service is not None and service not in found.site.services:
        raise Said(f"there is no service {service!r}; there are: {', '.join(found.site.services) or 'none'}")
    settings = own_config(config)
    name = node or (settings.node if settings else _own_name(list(found.site.site.nodes)))
    if name not in found.site.site.nodes:
        raise Said(f"{name} is not a node of the site; give --node")
    rows, missing = asyncio.run(every_node(found.site, name, service, files, None if here else settings))
    keep(KEPT, rows, show.person() or "root", datetime.now(UTC))
    sheet = list(lines(found.site, service))
    blocked = any(row.blocks for row in rows) or bool(missing)
    if csv is not None:
        if str(csv) == "-":
            typer.echo(to_csv(sheet), nl=False)
            raise typer.Exit(1 if blocked else 0)
        csv.write_text(to_csv(sheet), encoding="utf-8")
    if as_json:
        nodes = {"node": name, "unasked": missing, "blocks": blocked}
        show.emit({**nodes, "rows": [r.as_dict() for r in rows], "allow": [vars(s) for s in sheet]})
    else:
        out = show.console()
        for seen_from in dict.fromkeys([name, *(row.node for row in rows)]):
            _table(out, seen_from, [row for row in rows if row.node == seen_from])
            out.print()
        for other, why in missing.items():
            out.print(show.text(f"{other} could not be asked: {why}", "bold red"))
        _sheet(out, sheet)
    raise typer.Exit(1 if blocked else 0)


def _own_name(nodes: list[str]) -> str:
    import socket

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
