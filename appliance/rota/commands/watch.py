"""`rota who` and `rota events`: who is connected, and what happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from rota.commands.complete import services

if TYPE_CHECKING:
    from rota.control.client import Rotad
    from rota.control.state import Event

PATIENCE = 60.0  # s that --follow waits for a rotad that restarts
OVERLAP = timedelta(seconds=5)  # the journal and the stream meet here; ids tell what was shown already


def who(
    service: Annotated[
        str | None, typer.Argument(help="The service; without one, all.", show_default=False, autocompletion=services)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who is connected now: caller, AE titles, member, age and bytes.

    Example: rota who pacs
    """
    from rota.commands import show, times
    from rota.control.client import Rotad

    rotad = Rotad()
    found = sorted(rotad.associations(service), key=lambda a: (a.service, a.member or "", -a.age_s))
    if as_json:
        show.emit([a.model_dump(mode="json") for a in found])
        return
    out = show.console()
    rows = show.table("SERVICE", "MEMBER", "CALLER", "CALLING AE", "CALLED AE", "AGE", "IN", "OUT", "NODE")
    for one in found:
        rows.add_row(
            show.text(one.service), show.text(one.member or "-"), show.text(one.caller), show.text(one.calling_ae or "-"),
            show.text(one.called_ae or "-"), times.length(one.age_s), times.size(one.bytes_in), times.size(one.bytes_out),
            show.text(one.node),
        )  # fmt: skip
    if found:
        out.print(rows)
    out.print(show.text(f"{len(found)} open"))
    for peer in rotad.status().peers:
        if not peer.reachable:
            out.print(show.text(f"{peer.node} does not answer: what goes through it is unknown", "bold yellow"))


def events(
    since: Annotated[
        str | None,
        typer.Option("--since", help="From when: 2h ago, 16:30, 2026-11-24, 2026-11-24T16:30.", show_default=False),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="To when; written as --since.", show_default=False)] = None,
    service: Annotated[
        str | None, typer.Option("--service", help="Of one service.", show_default=False, autocompletion=services)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many, without --since.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what happens, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show the journal: every change of verdict, intent and role, with time, reason and name.

    Example: rota events --since 2h --service pacs --follow
    """
    from rota.commands import show
    from rota.commands.times import past
    from rota.control.client import Rotad
    from rota.said import Said

    now = datetime.now(UTC)
    begin = past(since, now) if since else None
    end = past(until, now) if until else None
    if follow and end:
        raise Said("--follow goes on for ever: it has no --until")
    if begin and end and end < begin:
        raise Said("--until lies before --since")
    rotad = Rotad()
    out = show.console()

    def tell(event: Event) -> None:
        if as_json:
            typer.echo(event.model_dump_json())
        elif out.is_terminal:
            out.print(show.event(event))
        else:
            typer.echo(show.event(event).plain)  # a month of events through a pipe: no layout, ten times as fast

    if not follow:
        for event in rotad.events(begin, end, service, None if begin else limit):
            tell(event)
        return
    try:
        for event in following(rotad, begin, service, limit):
            tell(event)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def following(rotad: Rotad, since: datetime | None, service: str | None, limit: int) -> Iterator[Event]:
    """What was, then what happens, each event once, over a restart of rotad. Silent when it stays away."""
    from rota.control.client import Silent

    seen: dict[int, datetime] = {}
    lost: float | None = None
    while True:
        try:
            with rotad.stream() as stream:  # first: what happens while the journal is read waits in the stream
                history = rotad.events(since, None, service, None if since else limit)
                lost = None
                for source in (history, stream):
                    for event in source:
                        if event.id in seen or (service and event.service != service):
                            continue
                        seen[event.id] = event.at
                        yield event
                        since = max(since or event.at - OVERLAP, event.at - OVERLAP)
                        if len(seen) > 20_000:
                            seen = {number: at for number, at in seen.items() if at >= since}
        except Silent:
            lost = lost or time.monotonic()
            if time.monotonic() - lost > PATIENCE:
                raise
            time.sleep(1)
