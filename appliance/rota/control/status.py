"""Puts together what a status says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from rota.control.runtime import ServerStat
from rota.control.state import MemberState, ServiceState, Status, Verdict
from rota.control.verdicts import Key, judge, main_row, takes_work
from rota.model import Service

if TYPE_CHECKING:
    from rota.control.core import Core

STALE = 3.0  # seconds after which what HAProxy said is no longer shown as true


def assemble(core: Core) -> Status:
    """The status of this node at this moment."""
    now = core.clock.now()
    sights = {name: view.held() for name, view in core.peers.views.items()}
    known = core.haproxy is not None and fresh(core)
    return Status(
        node=core.node,
        version=core.version,
        model_hash=core.model_hash,
        at=now,
        haproxy_since=now - timedelta(seconds=core.haproxy.uptime) if known and core.haproxy else None,
        haproxy_problem=None if known else core.haproxy_problem or "HAProxy does not answer",
        groups=core.pair.groups(core.site, core.node, core.held, sights),
        peers=[
            view.state(core.version, core.model_hash, core.intents.digest(), core.windows.store.digest())
            for view in core.peers.views.values()
        ],
        services=[_service(core, name, service) for name, service in core.services().items()],
        alarms=core.board.current(),
        ipvs_problem=core.layer4.problem,
        certificate_ends=core.peers.ends,
        certificates=core.certificates,
        windows=core.windows.store.live(),
    )


def fresh(core: Core) -> bool:
    """Whether what is known of HAProxy may be shown as true."""
    return core.snapshot is not None and core.clock.steady() - core.snapshot_at < STALE


def stat_of(core: Core, key: Key) -> list[ServerStat]:
    """The statistics of a member in its service's backends."""
    names = (key, (f"{key[0]}.v6", key[1]))
    return [core.stats[name] for name in names if name in core.stats]


def reason_of(core: Core, key: Key) -> str:
    """Why a member has its verdict, in words for people."""
    if not fresh(core):
        return "HAProxy does not answer: nothing is known"
    row = main_row(core.snapshot, *key) if core.snapshot else None
    if row is None:
        return "HAProxy does not know this member: its configuration is another one"
    if judge(row) is Verdict.UNKNOWN:
        return "not asked yet" if row.checked and not row.admin & 0x67 else "not asked while in maintenance"
    if core.verdicts.of(key).verdict is Verdict.CANNOT_STORE and key in core.deep:
        return core.deep[key][1]
    found = stat_of(core, key)
    if row.op == 0 and row.check_result != 2 and found and found[0].agent:
        return found[0].agent
    return found[0].reason if found else ""


def _member(core: Core, key: Key, service: Service, others: dict[str, int]) -> MemberState:
    member = service.members[key[1]]
    known = fresh(core)
    standing = core.verdicts.of(key)
    row = main_row(core.snapshot, *key) if core.snapshot else None
    deep = core.deep.get(key)
    ipvs = core.layer4.of(key)
    own, other = sum(stat.sessions for stat in stat_of(core, key)) if known else 0, others.get("/".join(key), 0)
    if service.mode.is_l4:
        # connections are synchronised: both nodes may know the same ones
        own, other = max(ipvs.active if ipvs else 0, other), 0
    return MemberState(
        name=key[1],
        address=member.address,
        port=member.port,
        verdict=standing.verdict if known else Verdict.UNKNOWN,
        reason=reason_of(core, key),
        since=standing.since,
        intent=core.intents.of(key),
        backup=bool(member.backup),
        in_use=known and takes_work(row),
        associations=own + other,
        limit=member.max_associations,
        check=service.check.kind,
        deep=f"{deep[0]}: {deep[1]}" if deep else None,
        ipvs=ipvs,
    )


def _service(core: Core, name: str, service: Service) -> ServiceState:
    others: dict[str, int] = {}
    for view in core.peers.views.values():
        for key, count in view.sessions().items():
            others[key] = others.get(key, 0) + count
    members = [_member(core, (name, m), service, others) for m in service.members]
    return ServiceState(
        name=name,
        profile=service.profile,
        department=service.department,
        description=service.description,
        group=service.group,
        mode=service.mode,
        addresses=list(service.addresses),
        ports=list(service.ports),
        verdict=service_verdict(members),
        braked=core.bridge.braked(name),
        members=members,
    )


def service_verdict(members: list[MemberState]) -> Literal["up", "degraded", "down", "unknown"]:
    """`up`: every member is up and none is taken out; `unknown` is never shown as up."""
    if all(m.verdict is Verdict.UNKNOWN and not m.in_use for m in members):
        return "unknown" if not any(m.intent and m.intent.state != "ready" for m in members) else "down"
    if not any(m.in_use for m in members):
        return "down"
    if all(m.in_use and m.verdict is Verdict.UP for m in members):
        return "up"
    return "unknown" if all(m.verdict is Verdict.UNKNOWN for m in members if m.in_use) else "degraded"
