"""`rota status` and `rota version`: what is, at one moment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from rota.commands.complete import services
from rota.said import Said

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from rota.control.state import Alarm, GroupState, MemberState, PeerState, ServiceState, Status, Window


def status(
    service: Annotated[
        str | None, typer.Argument(help="One service, with more detail.", show_default=False, autocompletion=services)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show services, members, who is active and what is wrong.

    Exit 1 when a service shown is down or unknown, or no single node holds the addresses; a degraded service is 0.

    Example: rota status pacs
    """
    from rota.commands import show
    from rota.control.client import Rotad

    now = Rotad().status()
    chosen = [s for s in now.services if service in (None, s.name)]
    if service and not chosen:
        raise Said(f"there is no service {service!r}; there are: {', '.join(s.name for s in now.services) or 'none'}")
    if as_json:
        show.emit((chosen[0] if service else now).model_dump(mode="json"))
    else:
        out = show.console()
        widest = max((len(m.name) for s in chosen for m in s.members), default=0)
        if service:
            _alarms(out, now, [a for a in now.alarms if service in a.key.replace("/", ":").split(":")])
            members = {m.name for m in chosen[0].members}
            _windows(out, [w for w in now.windows if w.member in members and w.service in (None, service)])
            _service(out, chosen[0], now.at, widest, detail=True)
        else:
            _head(out, now)
            _alarms(out, now, now.alarms)
            _windows(out, now.windows)
            for one in chosen:
                _service(out, one, now.at, widest)
    raise typer.Exit(0 if _sound(now, chosen) else 1)


def _sound(now: Status, chosen: list[ServiceState]) -> bool:
    groups = {s.group for s in chosen}
    split = any(g.state in ("split-brain", "no-active") for g in now.groups if g.name in groups)
    return not split and all(s.verdict in ("up", "degraded") for s in chosen)


def _head(out: Console, now: Status) -> None:
    from rota.commands import show, times

    line = show.text(now.node, "bold")
    line.append(f"  {now.at.astimezone():%Y-%m-%d %H:%M:%S}  rota {now.version}  ")
    if now.haproxy_since:
        line.append(f"HAProxy up {times.length((now.at - now.haproxy_since).total_seconds())}")
    else:
        problem = show.clean(now.haproxy_problem or "no reason known")
        line.append(f"HAProxy does not answer: {problem}; no verdict is known", "bold red")
    out.print(line)
    if now.ipvs_problem:
        out.print(show.text(now.ipvs_problem, "bold red"))
    for group in now.groups:
        out.print(_group(group, now))
    for peer in now.peers:
        out.print(_peer(peer, now.at))


def _group(group: GroupState, now: Status) -> Text:
    from rota.commands import show, times
    from rota.control.state import PairState, Role

    for_ = f" for {times.length((now.at - group.since).total_seconds())}" if group.since else ""
    line = show.text(f"group {group.name}: ")
    style = {Role.ACTIVE: "bold green", Role.STANDBY: "", Role.UNKNOWN: "bold yellow"}[group.role]
    line.append(f"{group.role.value} here{for_}", style)
    others = [holder for holder in group.holders if holder != now.node]
    if others:
        line.append(f", held by {', '.join(map(show.clean, others))}")
    if group.state is not PairState.OK:
        words = {
            PairState.SPLIT_BRAIN: ("SPLIT BRAIN: more than one node holds the addresses", "bold red"),
            PairState.NO_ACTIVE: ("NO ACTIVE NODE: nobody holds the addresses", "bold red"),
            PairState.PEER_UNKNOWN: ("the peer cannot be seen: what it holds is unknown", "bold yellow"),
            PairState.ALONE: ("one node only: nobody can take over", ""),
        }[group.state]
        line.append("  ")
        line.append(*words)
    line.append(f"  {' '.join(group.addresses)}", "dim")
    return line


def _peer(peer: PeerState, at: datetime) -> Text:
    from rota.commands import show, times

    line = show.text(f"peer {peer.node}: ")
    since = f" for {times.length((at - peer.since).total_seconds())}" if peer.since else ""
    if not peer.reachable:
        seen = "its service network answers" if peer.heartbeat else "nothing of it answers"
        line.append(f"unknown{since}: its rotad does not answer, {seen}", "bold yellow")
    elif peer.in_step:
        line.append(f"in step{since}", "green")
    else:
        line.append(f"OUT OF STEP{since}", "bold yellow")
    if peer.problem:
        line.append(f"  {show.clean(peer.problem)}")
    return line


def _alarms(out: Console, now: Status, alarms: list[Alarm]) -> None:
    from rota.commands import show, times

    for alarm in alarms:
        style = "bold red" if alarm.severity == "critical" else "bold yellow"
        line = show.text(f"{alarm.severity}: ", style)
        line.append(f"{show.clean(alarm.text)}  (for {times.length((now.at - alarm.since).total_seconds())})")
        out.print(line)


def _windows(out: Console, windows: list[Window]) -> None:
    from rota.commands import show

    for window in windows:
        out.print(show.text(f"window {show.window(window)}", "cyan"))


def _service(out: Console, one: ServiceState, at: datetime, widest: int, *, detail: bool = False) -> None:
    from rota.commands import show, times

    line = show.text(one.name, "bold")
    line.append("  ")
    line.append(one.verdict, show.SERVICE_STYLE[one.verdict])
    where = " ".join(f"{a}:{p}" if ":" not in a else f"[{a}]:{p}" for a in one.addresses for p in one.ports)
    line.append(f"  {where}  {one.profile} {one.mode}  {show.clean(one.department)}".rstrip(), "dim")
    if one.braked:
        line.append("  BRAKED: too many members failed at once; layer 4 holds its last state", "bold red")
    out.print()
    out.print(line)
    if detail and one.description:
        out.print(show.text(f"  {one.description}"))
    layer4 = one.mode.startswith("l4")
    more = (*(("IPVS",) if layer4 else ()), *(("ADDRESS", "CHECK") if detail else ()))
    columns = ("  MEMBER", "VERDICT", "FOR", "NEW WORK", "OPEN", *more, "INTENT", "REASON")
    # the tables of all services line up; where room is short, each is as narrow as it can be
    least = (widest + 2, len("cannot-store"), len("9 h 59 min"), 8, 7) if out.width >= 110 else ()
    lines: list[list[Text | str]] = []
    for member in one.members:
        since = times.length((at - member.since).total_seconds()) if member.since else "?"
        work = "yes" if member.in_use else "waits" if member.backup and member.verdict == "up" else "no"
        port = f":{member.port}" if member.port else ""
        opened = f"{member.associations}/{member.limit}" if member.limit else str(member.associations)
        extra: list[Text | str] = [show.text(_ipvs(member))] if layer4 else []
        extra += (show.text(f"{member.address}{port}"), show.text(member.check)) if detail else ()
        reason = "; ".join(filter(None, (member.reason, member.deep)))
        cells: list[Text | str] = [show.text(f"  {member.name}"), show.verdict(member.verdict), since]
        cells += [show.text(work, "" if member.in_use else "yellow"), opened, *extra]
        lines.append([*cells, show.text(show.intent(member.intent), "cyan"), show.text(reason)])
    fast = show.rows(columns, lines, least)
    if out.soft_wrap or max(map(len, fast.plain.splitlines())) <= out.width:
        out.print(fast, soft_wrap=True)
        return
    folded = show.table(*columns)
    for column, width in zip(folded.columns, least, strict=False):
        column.min_width = width
    for row in lines:
        folded.add_row(*row)
    out.print(folded)


def _ipvs(member: MemberState) -> str:
    """What the kernel of this node has of a member: weight, connections open and on their way out."""
    if member.ipvs is None:
        return "?"
    weight = "out" if member.ipvs.weight is None else f"weight {member.ipvs.weight}"
    return f"{weight}, {member.ipvs.active}+{member.ipvs.inactive}"


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the version of this command, of rotad and of the peers' rotad.

    Example: rota version
    """
    from rota import __version__
    from rota.commands import show
    from rota.control.client import Rotad

    try:
        now = Rotad().status()
    except Said as silent:
        found: dict[str, object] = {"command": __version__, "node": None, "rotad": None, "peers": {}, "problem": str(silent)}
    else:
        peers = {peer.node: peer.version for peer in now.peers}
        found = {"command": __version__, "node": now.node, "rotad": now.version, "peers": peers, "problem": None}
    if as_json:
        show.emit(found)
        return
    out = show.console()
    out.print(show.text(f"rota  {__version__}"))
    if found["problem"]:
        out.print(show.text(f"rotad unknown: {found['problem']}", "bold yellow"))
        return
    out.print(show.text(f"rotad {now.version} on {now.node}"))
    for peer in now.peers:
        out.print(show.text(f"rotad {peer.version or 'unknown: it does not answer'} on {peer.node}"))
