"""Guard rails: what an operator may ask for, and what has to be confirmed first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rota.control.controller import Refused
from rota.control.state import AuditRequest, Event, IntentRequest, IntentState
from rota.control.verdicts import Key

if TYPE_CHECKING:
    from rota.control.core import Core


def targets(core: Core, request: IntentRequest) -> list[Key]:
    """The members that a request is about; raises Refused."""
    services = core.services()
    if request.service is not None and request.service not in services:
        raise Refused("unknown-service", f"there is no service {request.service}", 404)
    named = [request.service] if request.service is not None else list(services)
    keys = [(name, request.member) for name in named if request.member in services[name].members]
    if not keys:
        where = f"service {request.service}" if request.service is not None else "no service"
        text = f"{where} has no member {request.member}" if request.service else f"{where} has a member {request.member}"
        raise Refused("unknown-member", text, 404)
    if request.until is not None and request.state is not IntentState.READY:
        if request.until.tzinfo is None:
            raise Refused("until-past", "until has no time zone", 422)
        if request.until <= core.clock.now():
            raise Refused("until-past", f"until is over already: it is {core.clock.now():%Y-%m-%dT%H:%M:%SZ}", 422)
    return keys


def audit(core: Core, request: AuditRequest, person: str) -> Event:
    """An audit line: `before` is the act, `after` its outcome; like every event it reaches the peers."""
    said = f"from {request.source}" + (f": {request.text}" if request.text else "")
    return core.record(
        "audit", service=request.service, member=request.member, before=request.action, after=request.outcome, reason=said,
        person=person,
    )  # fmt: skip


def guard_last(core: Core, keys: list[Key]) -> None:
    """Refuse to take the last serving member out of a service; one that does not serve may always be drained."""
    alone = [
        name
        for name, member in keys
        if core.follower.serving((name, member))
        and not any(core.follower.serving((name, m)) for m in core.services()[name].members if m != member)
    ]
    if alone:
        member = keys[0][1]
        raise Refused("last-member", f"{member} is the last serving member of {', '.join(alone)}; --force does it anyway")
