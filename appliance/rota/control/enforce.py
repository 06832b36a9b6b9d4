"""Makes HAProxy do what the operators want: compares, and says what to send. Looked at with every snapshot, so it does
not matter why HAProxy does something else: a restart, a reload, an agent, or somebody at the socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rota.control.runtime import FORCED_DRAIN, FORCED_MAINTENANCE, ServerRow, Snapshot, target
from rota.control.state import IntentState
from rota.control.verdicts import Key, is_of


def forced(row: ServerRow) -> IntentState:
    """What somebody has forced on a row. A weight of 0 in the configuration looks like a drain and is none."""
    if row.admin & FORCED_MAINTENANCE:
        return IntentState.HALT
    if row.admin & FORCED_DRAIN and row.weight > 0:
        return IntentState.DRAIN
    return IntentState.READY


def own_rows(snapshot: Snapshot, key: Key) -> list[ServerRow]:
    """The rows of a member that can be switched: those that track another one follow it by themselves."""
    service, member = key
    names = ((service, member), (f"{service}.v6", member))
    return [snapshot.rows[name] for name in names if name in snapshot.rows]


def corrections(snapshot: Snapshot, keys: Iterable[Key], wanted: Callable[[Key], IntentState]) -> dict[Key, list[str]]:
    """The commands that bring HAProxy to what is wanted, for the members that differ."""
    found: dict[Key, list[str]] = {}
    for key in keys:
        state = wanted(key)
        for row in own_rows(snapshot, key):
            if forced(row) is state:
                continue
            name = target(row.backend, row.server)
            # `drain` clears maintenance and the other way round, in one step: no gap with work in it
            word = {IntentState.READY: "ready", IntentState.DRAIN: "drain", IntentState.HALT: "maint"}[state]
            found.setdefault(key, []).append(f"set server {name} state {word}")
            if state is IntentState.HALT:
                found[key] += shutdowns(snapshot, key)
    return found


def shutdowns(snapshot: Snapshot, key: Key) -> list[str]:
    """Commands that cut every connection to a member, in all backends of its service."""
    rows = [row for row in snapshot.rows.values() if row.server == key[1] and is_of(row.backend, key[0])]
    return [f"shutdown sessions server {target(row.backend, row.server)}" for row in rows]


def clearings(snapshot: Snapshot, keys: Iterable[Key], tables: Sequence[str]) -> list[str]:
    """Commands that make callers forget a member: HAProxy lets known callers through to a drained one."""
    known = set(tables)
    commands = []
    for service, member in keys:
        for row in snapshot.rows.values():
            if row.server == member and is_of(row.backend, service) and row.backend in known:
                commands.append(
                    f"clear table {target(row.backend, '_').removesuffix('/_')} data.server_id eq {row.server_id}"
                )
    return commands
