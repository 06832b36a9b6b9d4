"""`rota failover`: hand the service addresses to the peer, and see that it holds them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from rota.said import Said

if TYPE_CHECKING:
    from rota.control.client import Rotad

WITHIN = 20.0  # s until the peer must hold the addresses


def failover(
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the journal.", show_default=False)],
    group: Annotated[
        str | None, typer.Option("--group", help="One VRRP group; without it, all.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even to a peer that is not fit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hand the service addresses to the peer, which takes over before this node lets go. Open connections at layer 7 break.

    Refused, with the reason, when the peer is not fit to take over.

    Example: rota failover --reason "kernel update"
    """
    from rota.commands import show
    from rota.control.client import Declined, Rotad

    if len(reason.strip()) < 3:
        raise Said('every act needs a reason that says something, e.g. --reason "kernel update"')
    rotad = Rotad(person=show.person())
    before = {g.name: g.holders for g in rotad.status().groups}
    began = time.monotonic()
    try:
        groups = rotad.failover({"group": group, "reason": reason.strip(), "force": force})
    except Declined as declined:
        if declined.problem.code == "peer-unfit":
            raise Said(f"refused: {declined}. With --force it is done all the same") from None
        raise
    done = {name: _moved(rotad, name, before.get(name, []), began) for name in groups}
    if as_json:
        show.emit(
            [{"group": n, "from": before.get(n, []), "to": to, "within_s": round(s, 1)} for n, (to, s) in done.items()]
        )
    else:
        out = show.console()
        for name, (holders, seconds) in done.items():
            if holders:
                text = f"group {name}: {', '.join(holders)} holds the addresses ({seconds:.1f} s)"
                out.print(show.text(text, "bold green"))
            else:
                text = (
                    f"group {name}: asked for, but no other node was seen to take over within {seconds:.0f} s: rota status"
                )
                out.print(show.text(text, "bold red"))
    raise typer.Exit(0 if all(holders for holders, _ in done.values()) else 1)


def _moved(rotad: Rotad, name: str, before: list[str], began: float) -> tuple[list[str], float]:
    """Who holds the group's addresses now, alone and other than before; nobody when that was not seen in time."""
    from rota.control.client import Silent

    while (waited := time.monotonic() - began) < WITHIN:
        try:
            groups = [g for g in rotad.status().groups if g.name == name]
        except Silent:
            groups = []
        for one in groups:
            if len(one.holders) == 1 and one.holders != before:
                return one.holders, waited
        time.sleep(0.2)
    return [], time.monotonic() - began
