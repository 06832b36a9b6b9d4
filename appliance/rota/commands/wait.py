"""Waiting for a drained member to fall idle: who is still connected, and when it is safe to patch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rota.commands import show, times
from rota.control.client import Silent
from rota.control.state import Association, Intent, IntentState, Status

if TYPE_CHECKING:
    from rich.console import Console, Group

    from rota.control.client import Rotad

PACE = 1.0  # s between looks
LOOKS = 3  # idle so many times in a row: a caller may be in HAProxy's queue, and a node that falls silent is seen by then
SHOWN = 15  # callers; more are counted


@dataclass(frozen=True)
class End:
    """How a wait ended. `safe`: nothing is open through any node, and every node said so."""

    safe: bool
    words: str
    waited_s: float


@dataclass(frozen=True)
class Look:
    """One look at the drained member."""

    open: list[Association]
    count: int  # may exceed what `open` can name
    blind: list[str]  # why it cannot be called safe although nothing is seen
    ended: str | None  # the intent is no longer in force

    @property
    def idle(self) -> bool:
        """Nothing is open, and nothing is unknown."""
        return not self.count and not self.blind


def look(now: Status, associations: list[Association], intents: list[Intent]) -> Look:
    """What `now` means for the members of `intents`."""
    keys = {(i.service, i.member) for i in intents}
    members = [(s.name, m) for s in now.services for m in s.members if (s.name, m.name) in keys]
    found = [a for a in associations if (a.service, a.member) in keys]
    counted = sum(m.associations for _, m in members)
    blind = [f"{p.node} does not answer: what goes through it is unknown" for p in now.peers if not p.reachable]
    if now.haproxy_since is None:
        blind.append(f"HAProxy on {now.node} does not answer: what goes through it is unknown")
    if now.ipvs_problem and any(s.mode.startswith("l4") for s in now.services if s.name in {key[0] for key in keys}):
        blind.append(f"{now.ipvs_problem}: what passes at layer 4 is unknown")
    ended = None
    for service, member in members:
        if member.intent is None or member.intent.state is IntentState.READY:
            by = f" by {member.intent.person}: {member.intent.reason}" if member.intent else ""
            ended = f"{service}/{member.name} is ready again{by}"
    if len(members) < len(keys):
        ended = "the member is no longer in the model"
    return Look(found, max(len(found), counted), blind, ended)


def wait_until_idle(
    rotad: Rotad,
    intents: list[Intent],
    *,
    quiet: bool = False,
    longest: timedelta | None = None,
    out: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> End:
    """Show who is connected until nobody is. Ctrl-C leaves the drain in force and says so."""
    out = out or show.console()
    began = clock()
    try:
        end = _watch(rotad, intents, out, quiet, longest, sleep, clock)
    except KeyboardInterrupt:
        one = intents[0]
        names = f"--member {one.member}" if len(intents) > 1 else f"{one.service} {one.member}"
        words = f"stopped waiting; {one.member} STAYS in drain. Bring it back: rota ready {names} --reason …"
        end = End(False, words, clock() - began)
    if not quiet:
        out.print(show.text(end.words, "bold green" if end.safe else "bold yellow"))
    return end


def _watch(
    rotad: Rotad,
    intents: list[Intent],
    out: Console,
    quiet: bool,
    longest: timedelta | None,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> End:
    from rich.live import Live

    began, idle, said, silent_since = clock(), 0, "", None
    name = intents[0].member
    live: AbstractContextManager[Any] = Live(console=out, auto_refresh=False, transient=True)
    if quiet or not out.is_terminal:
        live = nullcontext()
    with live as screen:
        while True:
            waited = clock() - began
            try:
                seen = look(rotad.status(), _associations(rotad, intents), intents)
                silent_since = None
            except Silent as silent:  # rotad restarts: the drain holds, and so does this wait
                silent_since = silent_since or clock()
                if clock() - silent_since > 30:
                    return End(False, f"{silent}; the drain is in force, what is connected is unknown", waited)
                seen = Look([], 0, ["rotad does not answer at the moment"], None)
            if seen.ended:
                return End(False, f"{seen.ended}: not safe to patch", waited)
            idle = idle + 1 if seen.idle else 0
            if idle >= LOOKS:
                return End(True, f"{name}: safe to patch (nothing open through any node; {times.length(waited)})", waited)
            if longest is not None and waited > longest.total_seconds():
                return End(False, f"{name}: {_summary(seen)} after {times.length(waited)}; it STAYS in drain", waited)
            if screen is not None:
                screen.update(_picture(seen, intents, waited), refresh=True)
            elif not quiet and (line := f"{name}: {_summary(seen)}") != said:
                said = line
                out.print(show.text(line))
            sleep(PACE)


def _associations(rotad: Rotad, intents: list[Intent]) -> list[Association]:
    return rotad.associations(intents[0].service if len(intents) == 1 else None)


def _summary(seen: Look) -> str:
    who = ", ".join(_caller(a) for a in seen.open[:SHOWN])
    more = f" and {len(seen.open) - SHOWN} more" if len(seen.open) > SHOWN else ""
    parts = [f"{seen.count} open" + (f": {who}{more}" if who else "")] if seen.count else ["nothing seen open"]
    return "; ".join(parts + seen.blind)


def _caller(one: Association) -> str:
    titles = f"{one.calling_ae or '?'}→{one.called_ae or '?'} " if one.calling_ae or one.called_ae else ""
    return f"{titles}{one.caller}"


def _picture(seen: Look, intents: list[Intent], waited: float) -> Group:
    from rich.console import Group

    until = intents[0].until
    left = ""
    if until:
        remains = (until - datetime.now(UTC)).total_seconds()
        left = f", drain ends by itself in {times.length(remains)}"
    head = show.text(f"{intents[0].member}: {seen.count} open, waiting {times.length(waited)}{left}", "bold")
    rows = show.table("CALLER", "CALLING AE", "CALLED AE", "SERVICE", "AGE", "IN", "OUT", "NODE")
    for one in sorted(seen.open, key=lambda a: -a.age_s)[:SHOWN]:
        rows.add_row(*row(one))
    rest = [show.text(f"and {len(seen.open) - SHOWN} more")] if len(seen.open) > SHOWN else []
    blind = [show.text(words, "bold yellow") for words in seen.blind]
    return Group(head, rows, *rest, *blind, show.text("Ctrl-C stops waiting; the drain stays.", "dim"))


def row(one: Association) -> list[Any]:
    """A connection as a row of a table."""
    return [
        show.text(one.caller),
        show.text(one.calling_ae or "-"),
        show.text(one.called_ae or "-"),
        show.text(one.service),
        times.length(one.age_s),
        times.size(one.bytes_in),
        times.size(one.bytes_out),
        show.text(one.node),
    ]
