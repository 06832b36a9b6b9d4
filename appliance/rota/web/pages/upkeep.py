"""Maintenance of members: drain, halt, bring back, wait, undo; and the guided flows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, flash, make_response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from rota.commands.wait import Look, look
from rota.control.client import Declined
from rota.control.state import Intent, IntentState, Status, Window
from rota.web.control import rotad
from rota.web.guard import Role, needs
from rota.web.live import Reading
from rota.web.pages.desk import desk
from rota.web.pages.forms import Form
from rota.web.pages.missing import no_member, no_window
from rota.web.views import failover, guides, upkeep
from rota.web.views.words import listed, taken_out

blueprint = Blueprint("upkeep", __name__, url_prefix="/maintenance")
Page = str | tuple[str, int] | Response


@blueprint.get("/")
@needs(Role.VIEWER)
def home() -> str:
    """Every server, the planned failover, and the guided flows."""
    reading = desk().watch.now()
    return render_template(
        "pages/upkeep.html", reading=reading, servers=upkeep.standings(reading), moves=failover.moves(reading), undo=_undo(),
        windows=upkeep.windows(rotad().windows()) if reading.known else [],
    )  # fmt: skip


def _silent(name: str) -> tuple[str, int]:
    return render_template("pages/silent.html", title=name), 503


def _undo() -> dict[str, Any] | None:
    """What can be taken back, if the last act of this session was one."""
    found = session.get("undo")
    return found if isinstance(found, dict) else None


# --- one member


@blueprint.get("/member/<name>")
@needs(Role.VIEWER)
def member(name: str) -> Page:
    """What can be done with a server."""
    return _member(name, Form({key: request.args.get(key, "")[:64] for key in ("service", "state", "from", "until")}))


@blueprint.post("/member/<name>")
@needs(Role.OPERATOR)
def review(name: str) -> Page:
    """What was asked for, and what it would mean: nothing is done yet."""
    reading = desk().watch.now(anew=True)
    form = Form(request.form)
    state, _ = form.state(), form.reason()
    begin, end = _times(form)
    if reading.status is None or not reading.known:
        return _silent(name)
    here = upkeep.places(reading.status, name, form.text("service") or None)
    if not here:
        return no_member(name, reading.status)
    if form.wrong or state is None:
        return _member(name, form, 400)
    return _review(name, form, reading.status, state, (begin, end))


Times = tuple[datetime | None, datetime | None]


def _times(form: Form) -> Times:
    """When it begins by itself (None: now) and when it ends by itself."""
    now = datetime.now(UTC)
    begin = form.begin(now)
    return begin, form.end_after(begin) if begin else form.end(now)


def _exact(moment: datetime | None) -> str:
    """A time as the next form carries it: what was said is what is done, however long somebody thinks about it."""
    return moment.astimezone().isoformat(timespec="seconds") if moment else ""


def _review(name: str, form: Form, status: Status, state: IntentState, times: Times, declined: str = "") -> Page:
    here = upkeep.places(status, name, form.text("service") or None)
    impact = upkeep.impact(here, state)
    return render_template(
        "pages/review.html", name=name, form=form, state=state, act=upkeep.ACTS[state], impact=impact, begin=times[0],
        sent=dict(zip(("from", "until"), map(_exact, times), strict=True)),
        end=times[1], nobody=any(one.nobody for one in impact) or bool(declined), declined=declined,
        queued=upkeep.queued(status),
    )  # fmt: skip


def _member(name: str, form: Form, code: int = 200) -> Page:
    reading = desk().watch.now()
    if reading.status is None:
        return _silent(name)
    here = upkeep.places(reading.status, name)
    if not here:
        return no_member(name, reading.status)
    view, pieces, _ = desk().board.show(reading, desk().model.site(), desk().node)
    rows = [(p.service.name, pieces[f"m.{p.service.name}.{name}"]) for p in here]
    out = any(taken_out(p.member.intent) for p in here)
    choices = [(s, text) for s, text in upkeep.ACTS.items() if s is not upkeep.READY or out]
    page = render_template(
        "pages/member.html", name=name, form=form, rows=rows, services=[p.service.name for p in here], choices=choices,
        out=out, undo=_undo(), reading=reading,
    )  # fmt: skip
    return (page, code) if code != 200 else page


@blueprint.post("/member/<name>/do")
@needs(Role.OPERATOR)
def do(name: str) -> Page:
    """Do it."""
    form = Form(request.form)
    state, reason = form.state(), form.reason()
    begin, end = times = _times(form)
    if form.wrong or state is None:
        return _member(name, form, 400)
    reading = desk().watch.now(anew=True)
    here = upkeep.places(reading.status, name, form.text("service") or None) if reading.status else []
    body = {
        "service": form.text("service") or None, "member": name, "state": state.value, "reason": reason,
        "until": end.isoformat() if end else None, "force": form.text("force") == "yes",
    }  # fmt: skip
    try:
        if begin is not None:
            return _planned(rotad().plan(body | {"starts": begin.isoformat()}))
        done = rotad().intend(body)
    except Declined as declined:
        if declined.problem.code not in ("last-member", "overlap") or reading.status is None:
            raise
        return make_response(_review(name, form, reading.status, state, times, str(declined).partition("; --force")[0]), 409)
    session["undo"] = {"member": name, "before": upkeep.before(here), "what": f"{upkeep.ACTS[state].lower()} of {name}"}
    _tell(done, state)
    return redirect(url_for("upkeep.member" if state is upkeep.READY else "upkeep.wait", name=name))


def _planned(window: Window) -> Response:
    """Say what is planned, and who does not know it yet."""
    row = upkeep.window(window)
    flash(f"Planned: {row.what.lower()} of {row.member} in {row.where}, {row.when}.", "good")
    status = desk().watch.now(anew=True).status
    for text in upkeep.queued(status) if status else []:
        flash(text, "warn")
    return redirect(url_for("upkeep.home"))


def _tell(done: list[Intent], state: IntentState) -> None:
    """Say what is in force now, and who does not know it yet."""
    flash(upkeep.done(done, state), "good")
    status = desk().watch.now(anew=True).status
    for text in upkeep.queued(status) if status else []:
        flash(text, "warn")


@blueprint.post("/undo")
@needs(Role.OPERATOR)
def undo() -> Page:
    """Take the last act of this session back."""
    found = session.pop("undo", None)
    if not isinstance(found, dict):
        flash("There is nothing to take back any more.", "warn")
        return redirect(url_for("upkeep.home"))
    name = str(found["member"])
    for word in found["before"]:
        service, _, state = str(word).partition("=")
        body = {"service": service, "member": name, "state": state, "reason": f"undo: {found['what']}"[:200]}
        _tell(rotad().intend(body), IntentState(state))
    return redirect(url_for("upkeep.member", name=name))


# --- maintenance windows


def _window(name: str) -> upkeep.WindowRow | None:
    return next((upkeep.window(one) for one in rotad().windows() if one.id == name), None)


@blueprint.get("/window/<name>")
@needs(Role.VIEWER)
def window(name: str) -> Page:
    """One window, and the way to call it off."""
    return _show_window(name, Form({}))


def _show_window(name: str, form: Form, code: int = 200) -> Page:
    row = _window(name)
    if row is None:
        return no_window(name)
    page = render_template("pages/window.html", form=form, window=row, queued=upkeep.queued_of(desk().watch.now()))
    return (page, code) if code != 200 else page


@blueprint.post("/window/<name>")
@needs(Role.OPERATOR)
def call_off(name: str) -> Page:
    """Call it off."""
    form = Form(request.form)
    reason = form.reason()
    if form.wrong:
        return _show_window(name, form, 400)
    row = upkeep.window(rotad().call_off(name, {"reason": reason}))
    flash(f"Called off: {row.what.lower()} of {row.member}, {row.when}.", "good")
    for text in upkeep.queued_of(desk().watch.now(anew=True)):
        flash(text, "warn")
    return redirect(url_for("upkeep.home"))


# --- waiting for the last caller


def _look(name: str) -> tuple[Reading, list[upkeep.Place], upkeep.Wait | None]:
    """The server as it stands, and how far it is from being safe; None: it is not taken out anywhere."""
    reading = desk().watch.now()
    status = reading.status
    here = upkeep.places(status, name) if status else []
    out = [p for p in here if taken_out(p.member.intent)]
    intents = [p.member.intent for p in out if p.member.intent]
    if status is None or not intents:
        return reading, here, None
    keys = [p.key for p in out]
    if reading.known:
        seen = look(status, rotad().associations(keys[0][0] if len(keys) == 1 else None), intents)
    else:
        seen = Look([], 0, [f"rotad on {desk().node} does not answer"], None)
    return reading, here, upkeep.wait(name, seen, desk().watch.idle(keys), out, reading)


@blueprint.get("/member/<name>/wait")
@needs(Role.VIEWER)
def wait(name: str) -> Page:
    """Who is still connected, until it is safe to patch."""
    reading, here, waiting = _look(name)
    if reading.status is None:
        return _silent(name)
    if not here:
        return no_member(name, reading.status)
    if waiting is None:
        return redirect(url_for("upkeep.member", name=name))
    out = [p.service.name for p in here if taken_out(p.member.intent)]
    return render_template("pages/wait.html", name=name, wait=waiting, services=listed(out, 6), undo=_undo())


@blueprint.get("/member/<name>/wait/part")
@needs(Role.VIEWER, passive=True)
def wait_part(name: str) -> Page:
    """The part of that page that asks for itself again."""
    _, _, waiting = _look(name)
    return render_template("pages/wait_part.html", name=name, wait=waiting)


# --- guided


@blueprint.get("/patch/<name>")
@needs(Role.VIEWER)
def patch(name: str) -> Page:
    """Patch a server, step by step."""
    reading, here, waiting = _look(name)
    if reading.status is None:
        return _silent(name)
    if not here:
        return no_member(name, reading.status)
    steps = guides.patch_server(name, here, waiting)
    return render_template("pages/guide.html", title=f"Patch {name}", name=name, steps=steps, reading=reading)


@blueprint.get("/node")
@needs(Role.VIEWER)
def node() -> Page:
    """Patch this node, step by step."""
    reading = desk().watch.now()
    here = desk().node
    steps = guides.patch_node(here, failover.moves(reading), reading)
    return render_template("pages/guide.html", title=f"Patch this node, {here}", name="", steps=steps, reading=reading)


@blueprint.get("/patch/")
@needs(Role.VIEWER)
def pick() -> Response:
    """The flow for the server that was chosen from the list."""
    return redirect(url_for("upkeep.patch", name=request.args.get("name", "")[:64] or "-"))
