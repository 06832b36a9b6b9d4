"""The page of tokens: everybody's own, and for an administrator all."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from rota.web import audit
from rota.web.auth import tokens
from rota.web.auth.people import Person
from rota.web.context import context
from rota.web.guard import Role, needs, signed_in

blueprint = Blueprint("tokens", __name__, url_prefix="/tokens")
Answer = str | Response | tuple[str, int]


def _me() -> Person:
    person = signed_in()
    assert person is not None  # noqa: S101 (the guard saw to it)
    return person


def _page(error: str = "", *, once: str | None = None, status: int = 200) -> Answer:
    """The list, and the form as it was filled in; `once` is a new token, shown this once."""
    me, form = _me(), {key: request.form.get(key, "") for key in ("label", "scope", "days")}
    found = tokens.tokens(context().store, None if me.role is Role.ADMINISTRATOR else me.name)
    scopes = [role for role in (Role.VIEWER, Role.OPERATOR) if role <= me.role]
    typed = form if error else {}
    return render_template("tokens.html", tokens=found, scopes=scopes, error=error, form=typed, once=once), status


@blueprint.get("")
@needs(Role.VIEWER)
def index() -> Answer:
    """The list."""
    return _page()


@blueprint.post("")
@needs(Role.VIEWER)
def make() -> Answer:
    """A new token."""
    label, days = request.form.get("label", "").strip(), request.form.get("days", "")
    try:
        scope = Role.of(request.form.get("scope", ""))
        if not (days.isascii() and days.isdigit()):
            raise ValueError("Say for how many days it should hold.")
        text = tokens.make(context().store, _me(), label, scope, int(days[:6]))
    except ValueError as problem:
        return _page(str(problem), status=400)
    audit.note("token-made", "done", person=_me().name, text=f"{label}: {scope.word} for {days} days")
    return _page(once=text)


@blueprint.post("/<number>/revoke")
@needs(Role.VIEWER)
def revoke(number: str) -> Answer:
    """End a token."""
    me = _me()
    if not tokens.revoke(context().store, number, person=None if me.role is Role.ADMINISTRATOR else me.name):
        abort(404)
    audit.note("token-revoked", "done", person=me.name, text=number)
    flash("The token is revoked.")
    return redirect(url_for("tokens.index"))
