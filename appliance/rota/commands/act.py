"""`rota drain`, `rota halt`, `rota ready`: what an operator wants of a member, on both nodes and over every restart.

With `--from` a drain or halt is a maintenance window, which begins by itself: `rota windows`, `rota call-off`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rota.commands.complete import members, planned, services
from rota.said import Said

if TYPE_CHECKING:
    from rota.control.client import Rotad
    from rota.control.state import Intent

Service = Annotated[str | None, typer.Argument(help="The service.", show_default=False, autocompletion=services)]
Member = Annotated[str | None, typer.Argument(help="Its member.", show_default=False, autocompletion=members)]
Everywhere = Annotated[
    str | None,
    typer.Option("--member", help="This member in all its services.", show_default=False, autocompletion=members),
]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the journal.", show_default=False)]
Until = Annotated[
    str | None, typer.Option("--until", help="End by itself: after 2h, at 16:30, at 2026-11-24T16:30.", show_default=False)
]
From = Annotated[
    str | None,
    typer.Option("--from", help="Begin by itself: in 2h, at 02:00, at 2026-11-30T02:00. Needs --until.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Even the last member that serves.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def drain(
    reason: Reason,
    service: Service = None,
    member: Member = None,
    everywhere: Everywhere = None,
    begin: From = None,
    until: Until = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show who is still connected, until it is safe to patch.")] = False,
    patience: Annotated[
        str | None, typer.Option("--timeout", help="With --wait: give up after this long, e.g. 30m.", show_default=False)
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Send a member no new work; what runs goes on to its end.

    Example: rota drain pacs pacs-b --reason "patching" --until 2h --wait

    A window: rota drain --member pacs-b --reason "patching" --from 2026-11-30T02:00 --until 2026-11-30T04:00
    """
    from rota.commands import show
    from rota.commands.times import span
    from rota.commands.wait import wait_until_idle

    longest = span(patience) if patience else None
    if patience and longest is None:
        raise Said(f"--timeout {patience!r} is no length of time: write 30m or 2h")
    if begin:
        if wait or patience:
            raise Said("--wait is for a drain that begins now: a window begins when nobody need be there")
        _plan("drain", service, member, everywhere, reason, begin, until, force, as_json)
        return
    rotad = _rotad()
    intents = _intend(rotad, "drain", service, member, everywhere, reason, until, force)
    if not as_json:
        _tell(rotad, intents)
    if not wait:
        if as_json:
            show.emit([i.model_dump(mode="json") for i in intents])
        return
    end = wait_until_idle(rotad, intents, quiet=as_json, longest=longest)
    if as_json:
        show.emit({"intents": [i.model_dump(mode="json") for i in intents], "safe": end.safe, "waited_s": end.waited_s})
    raise typer.Exit(0 if end.safe else 1)


def halt(
    reason: Reason,
    service: Service = None,
    member: Member = None,
    everywhere: Everywhere = None,
    begin: From = None,
    until: Until = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Cut a member off now: its associations are closed, and senders must send again.

    Example: rota halt pacs pacs-b --reason "answers, but stores nothing"
    """
    if begin:
        _plan("halt", service, member, everywhere, reason, begin, until, force, as_json)
    else:
        _act("halt", service, member, everywhere, reason, until, force, as_json)


def ready(
    reason: Reason,
    service: Service = None,
    member: Member = None,
    everywhere: Everywhere = None,
    as_json: Json = False,
) -> None:
    """Bring a member back. It gets new work as soon as its checks pass.

    Example: rota ready pacs pacs-b --reason "patched"
    """
    _act("ready", service, member, everywhere, reason, None, False, as_json)


def _act(
    state: str,
    service: str | None,
    member: str | None,
    everywhere: str | None,
    reason: str,
    until: str | None,
    force: bool,
    as_json: bool,
) -> None:
    from rota.commands import show

    rotad = _rotad()
    intents = _intend(rotad, state, service, member, everywhere, reason, until, force)
    if as_json:
        show.emit([i.model_dump(mode="json") for i in intents])
    else:
        _tell(rotad, intents)


def _rotad() -> Rotad:
    from rota.commands import show
    from rota.control.client import Rotad

    return Rotad(person=show.person())


def _intend(
    rotad: Rotad,
    state: str,
    service: str | None,
    member: str | None,
    everywhere: str | None,
    reason: str,
    until: str | None,
    force: bool,
) -> list[Intent]:
    from rota.commands.times import future
    from rota.control.client import Declined

    body = _asked(state, service, member, everywhere, reason, force)
    end = future(until, datetime.now(UTC)) if until else None
    body["until"] = end.isoformat() if end else None
    try:
        return rotad.intend(body)
    except Declined as declined:
        if declined.problem.code == "last-member":
            raise Said(f"refused: {declined}. With --force it is done all the same, and callers find nobody") from None
        raise


def _asked(
    state: str, service: str | None, member: str | None, everywhere: str | None, reason: str, force: bool
) -> dict[str, Any]:
    """What rotad is asked, but for the times."""
    if everywhere and (service or member):
        raise Said("give SERVICE MEMBER for one service, or --member MEMBER alone for all its services")
    if not everywhere and not (service and member):
        raise Said(f"which member? rota {state} SERVICE MEMBER, or rota {state} --member MEMBER for all its services")
    if len(reason.strip()) < 3:
        raise Said('every act needs a reason that says something, e.g. --reason "patching"')
    return {
        "service": service,
        "member": everywhere or member,
        "state": state,
        "reason": reason.strip(),
        "force": force,
    }


def _plan(
    state: str,
    service: str | None,
    member: str | None,
    everywhere: str | None,
    reason: str,
    begin: str,
    until: str | None,
    force: bool,
    as_json: bool,
) -> None:
    from rota.commands import show
    from rota.commands.times import after, future
    from rota.control.client import Declined

    body = _asked(state, service, member, everywhere, reason, force)
    if not until:
        raise Said("a window has an end: give --until, too")
    starts = future(begin, datetime.now(UTC))
    body |= {"starts": starts.isoformat(), "until": after(until, starts).isoformat()}
    rotad = _rotad()
    try:
        window = rotad.plan(body)
    except Declined as declined:
        if declined.problem.code == "last-member":
            raise Said(
                f"refused: {str(declined).partition('; --force')[0]}. With --force it is planned all the same"
            ) from None
        raise
    if as_json:
        show.emit(window.model_dump(mode="json"))
        return
    out = show.console()
    out.print(show.text(show.window(window)))
    out.print(
        show.text(f"It is skipped, and an alarm says so, if nobody else serves then. rota call-off {window.id} ends it.")
    )
    _unheard(rotad)


def windows(as_json: Json = False) -> None:
    """List maintenance windows: those to come, those that run, and the last that have been.

    Example: rota windows
    """
    from rota.commands import show

    found = _rotad().windows()
    if as_json:
        show.emit([one.model_dump(mode="json") for one in found])
        return
    out = show.console()
    for one in found:
        out.print(show.text(show.window(one), "" if one.live else "dim"))
    if not found:
        out.print("no window is planned")


def call_off(
    reason: Reason,
    window: Annotated[
        str, typer.Argument(help="Its id, as `rota windows` says it.", show_default=False, autocompletion=planned)
    ],
    as_json: Json = False,
) -> None:
    """Call a planned maintenance window off. One that runs ends with `rota ready`.

    Example: rota call-off 3f9a01 --reason "the vendor is ill"
    """
    from rota.commands import show

    if len(reason.strip()) < 3:
        raise Said('every act needs a reason that says something, e.g. --reason "the vendor is ill"')
    rotad = _rotad()
    found = rotad.call_off(window, {"reason": reason.strip()})
    if as_json:
        show.emit(found.model_dump(mode="json"))
        return
    show.console().print(show.text(show.window(found)))
    _unheard(rotad)


def _unheard(rotad: Rotad) -> None:
    """Say who does not know of an act yet."""
    from rota.commands import show

    out = show.console()
    for peer in rotad.status().peers:
        if not peer.reachable:
            text = f"{peer.node} does not answer: it learns this when it is back; its own share goes on till then"
            out.print(show.text(text, "bold yellow"))


def _tell(rotad: Rotad, intents: list[Intent]) -> None:
    """Say what is in force now, and who does not know it yet."""
    from rota.commands import show
    from rota.control.state import IntentState

    out = show.console()
    for one in intents:
        words = show.intent(one) or f"ready again by {one.person}: {one.reason}"
        out.print(show.text(f"{one.service}/{one.member}: {words}"))
    _unheard(rotad)
    if any(one.state is IntentState.DRAIN for one in intents):
        keys = {(one.service, one.member) for one in intents}
        count = sum(
            (a.service, a.member) in keys for a in rotad.associations(intents[0].service if len(keys) == 1 else None)
        )
        out.print(show.text(f"{count} open now" if count else "nothing open now"))
