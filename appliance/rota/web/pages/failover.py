"""Planned failover, from either node."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from rota.control.client import Declined
from rota.web.control import rotad
from rota.web.guard import Role, needs
from rota.web.pages.desk import desk
from rota.web.pages.forms import Form
from rota.web.views import failover

blueprint = Blueprint("failover", __name__, url_prefix="/maintenance/failover")
Page = str | tuple[str, int] | Response


@blueprint.get("/")
@needs(Role.VIEWER)
def form() -> Page:
    """What would move, and whether everything is as it should be for that."""
    return _form(Form({"group": request.args.get("group", ""), "reason": request.args.get("reason", "")}))


def _form(form: Form, code: int = 200, declined: str = "") -> Page:
    reading = desk().watch.now()
    moves = failover.moves(reading)
    opened = sum(m.associations for s in reading.status.services for m in s.members) if reading.status else 0
    page = render_template(
        "pages/failover.html", form=form, moves=moves, declined=declined, opened=opened, reading=reading,
        fit=bool(moves) and all(move.fit for move in moves),
    )  # fmt: skip
    return (page, code) if code != 200 else page


@blueprint.post("/")
@needs(Role.OPERATOR)
def do() -> Page:
    """Hand over."""
    form = Form(request.form)
    reason, group = form.reason(), form.text("group") or None
    if form.text("sure") != "yes":
        form.wrong["sure"] = "Say that you have seen what it means."
    if form.wrong:
        return _form(form, 400)
    try:
        moved = rotad().failover({"group": group, "reason": reason, "force": form.text("force") == "yes"})
    except Declined as declined:
        if declined.problem.code not in ("peer-unfit", "not-active", "move-failed"):
            raise
        return _form(form, 409, str(declined))
    status = desk().watch.now(anew=True).status
    holders = {g.name: ", ".join(g.holders) for g in status.groups} if status else {}
    for name in moved:
        flash(f"Group {name}: {holders.get(name) or 'the other node'} holds the addresses now.", "good")
    return redirect(url_for("failover.form", group=group or "", reason=f"undo: {reason}"[:200]))
