"""`rota report`: what a period was like, for people (HTML, a table) and for programs (CSV, JSON)."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rota.commands.complete import services
from rota.said import Said

if TYPE_CHECKING:
    from rota.control.client import Rotad
    from rota.report.model import Report


def report(
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Its beginning: 2026-11-01, 30d (ago), RFC 3339. [30 days ago]", show_default=False),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Its end, written as --from. [now]", show_default=False)] = None,
    service: Annotated[
        str | None, typer.Option("--service", help="Of one service.", show_default=False, autocompletion=services)
    ] = None,
    as_html: Annotated[bool, typer.Option("--html", help="One HTML file that fetches nothing and prints well.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Rows for a spreadsheet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False, dir_okay=False)
    ] = None,
) -> None:
    """Availability of every service, outages with their cause, failovers with the senders that were cut, planned work.

    Example: rota report --from 2026-10-01 --to 2026-11-01 --html -o october.html
    """
    from rota.commands.times import past
    from rota.control.client import Rotad
    from rota.report.html import html
    from rota.report.plain import as_csv as csv_of
    from rota.report.plain import as_text as json_of

    if as_html + as_csv + as_json > 1:
        raise Said("one of --html, --csv and --json at a time")
    now = datetime.now(UTC)
    last = past(end, now) if end else now
    first = past(begin, now) if begin else last - timedelta(days=30)
    if first >= last:
        raise Said("the period is empty: --from must lie before --to")
    gc.disable()  # a month may be 100,000 events, none of them garbage: looking for it would take half of the time
    made = gather(Rotad(timeout=20), first, last, service)
    if as_html or as_csv or as_json:
        text = html(made) if as_html else csv_of(made) if as_csv else json_of(made)
        _write(text, output)
    elif output:
        raise Said("say in which form: --html, --csv or --json")
    else:
        _show(made)


def gather(rotad: Rotad, begin: datetime, end: datetime, service: str | None) -> Report:
    """Ask rotad for what the period needs, and build its report."""
    from rota.report.build import build

    status = rotad.status()
    if service and service not in {s.name for s in status.services}:
        raise Said(f"there is no service {service!r}; there are: {', '.join(s.name for s in status.services) or 'none'}")
    events = rotad.events(since=begin)
    before = rotad.events(until=begin, limit=1)
    watched_from = begin if before else events[0].at if events else None
    return build(events, status, begin, end, watched_from=watched_from, service=service)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Said(f"{output}: {error.strerror or error}") from None
    typer.echo(f"written to {output}", err=True)


def _show(made: Report) -> None:
    from rota.commands import show
    from rota.report.model import percent
    from rota.report.words import duration, moment, summary

    out = show.console()
    out.print(show.text(f"{moment(made.begin)} to {moment(made.end)}", "bold"))
    out.print(show.text(summary(made)))
    rows = show.table("SERVICE", "AVAILABILITY", "OUTAGES", "DOWN", "LONGEST", "PLANNED", "REDUCED", "NOT OBSERVED")
    for one in made.services:
        style = "bold yellow" if one.availability is None else "bold red" if one.down_s else "green"
        rows.add_row(
            show.text(one.name), show.text(percent(one.availability), style), str(one.outages), duration(one.down_s),
            duration(one.longest_s), duration(one.planned_s), duration(one.degraded_s), duration(one.unknown_s),
        )  # fmt: skip
    out.print(rows)
    for outage in made.outages:
        kind = "planned" if outage.planned else "outage"
        line = f"{kind}  {moment(outage.begin)}  {outage.service}  {duration(outage.seconds)}  {outage.cause}"
        out.print(show.text(line, "" if outage.planned else "red"))
    for failover in made.failovers:
        how = f"planned by {failover.person}" if failover.planned else "unplanned"
        line = f"failover  {moment(failover.at)}  group {failover.group}  {failover.before} → {failover.after}  {how}"
        out.print(show.text(f"{line}  {failover.reason}  senders cut: {len(failover.cut)}"))
