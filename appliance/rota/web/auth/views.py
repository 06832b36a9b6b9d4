"""Sign in and out, and one's own password."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from rota.web import audit
from rota.web.auth import lockout, passwords, signin
from rota.web.auth.people import Person, Source
from rota.web.context import context
from rota.web.guard import SESSION, Role, needs, open_to_all, signed_in
from rota.web.security import limiter, safe_next

blueprint = Blueprint("auth", __name__)
_NEXT = "next"  # key of the cookie: where to go after a single sign-on
Answer = str | Response | tuple[str, int]


def _form(error: str = "", name: str = "", status: int = 200) -> Answer:
    sso = context().config.oidc
    target = safe_next(request.values.get("next"), "/")
    page = render_template("sign_in.html", next=target, error=error, name=name, single_sign_on=sso.label if sso else None)
    return page, status


@blueprint.get("/sign-in")
@open_to_all
def sign_in() -> Answer:
    """The form."""
    return redirect(safe_next(request.args.get("next"), "/")) if signed_in() else _form()


@blueprint.post("/sign-in")
@limiter.limit("10 per minute")
@open_to_all
def sign_in_now() -> Answer:
    """Judge name and password."""
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    if not name or not password:
        return _form("Enter your name and your password.", name, 400)
    try:
        person = signin.admit(name, password)
    except signin.NotAdmitted as problem:
        return _form(str(problem), name, 401)
    return _enter(person, request.form.get("next"))


@blueprint.get("/sign-in/single")
@limiter.limit("10 per minute")
@open_to_all
def single_sign_on() -> Answer:
    """Go to the provider."""
    config = context().config.oidc
    if config is None:
        return _form("There is no single sign-on here.", status=404)
    from rota.web.auth import oidc

    for key in [key for key in session if key.startswith("_state_")]:
        session.pop(key)  # of tries that were given up: the cookie has its limits
    session[_NEXT] = safe_next(request.args.get("next"), "/")
    try:
        return oidc.begin(config, url_for("auth.single_sign_on_back", _external=True))
    except oidc.SignOnFailed as problem:
        audit.note("sign-in", "failed", person=audit.NOBODY, text=f"single sign-on: {problem}")
        return _form("The single sign-on does not answer. Use a local account.", status=502)


@blueprint.get("/sign-in/back")
@limiter.limit("10 per minute")
@open_to_all
def single_sign_on_back() -> Answer:
    """Come back from the provider."""
    config = context().config.oidc
    if config is None:
        return _form("There is no single sign-on here.", status=404)
    from rota.web.auth import oidc

    try:
        subject, person = oidc.finish(config)
        return _enter(signin.admit_external(person, subject), session.get(_NEXT))
    except oidc.SignOnFailed as problem:
        audit.note("sign-in", "failed", person=audit.NOBODY, text=f"single sign-on: {problem}")
        return _form("The single sign-on did not admit you. Try again, or use a local account.", status=401)
    except signin.NotAdmitted as problem:
        return _form(str(problem), status=403)


def _enter(person: Person, target: str | None) -> Response:
    """A new session with a new id and a new CSRF token: nothing that was known before sign-in holds after it."""
    here = context()
    if old := session.get(SESSION):
        here.store.end(old)
    session.clear()
    agent = request.user_agent.string
    session[SESSION] = here.store.begin(person.name, address=request.remote_addr or "", agent=agent)
    return redirect(url_for("auth.password") if person.must_change else safe_next(target, "/"))


@blueprint.post("/sign-out")
@needs(Role.VIEWER)
def sign_out() -> Answer:
    """End the session, here and on the server."""
    person = signed_in()
    if sid := session.get(SESSION):
        context().store.end(sid)
    session.clear()
    audit.note("sign-out", "done", person=person.name if person else audit.NOBODY)
    return redirect(url_for("auth.sign_in"))


@blueprint.get("/password")
@needs(Role.VIEWER)
def password() -> Answer:
    """The form to change one's password."""
    return render_template("password.html", error="", shortest=passwords.SHORTEST)


@blueprint.post("/password")
@limiter.limit("10 per minute")
@needs(Role.VIEWER)
def change_password() -> Answer:
    """Change it; every other session of the person ends."""
    here, person = context(), signed_in()
    assert person is not None  # noqa: S101 (the guard saw to it)
    old, new, again = (request.form.get(key, "") for key in ("old", "new", "again"))
    error = _why_not(person, old, new, again)
    if error:
        return render_template("password.html", error=error, shortest=passwords.SHORTEST), 400
    here.store.set_password(person.name, passwords.hashed(new))
    here.store.end_all(person.name)
    session.clear()
    session[SESSION] = here.store.begin(person.name, address=request.remote_addr or "", agent=request.user_agent.string)
    audit.note("password", "done", person=person.name, text="changed their own")
    flash("Your password is changed. Your other sessions have ended.")
    return redirect("/")


def _why_not(person: Person, old: str, new: str, again: str) -> str | None:
    here = context()
    if person.source is not Source.LOCAL:
        return "Your password belongs to your hospital's directory: change it there."
    if seconds := lockout.wait(here.store, person.name):
        return f"Too many failed attempts. Try again in {seconds} seconds."
    if weak := passwords.weakness(new, person.name):
        return weak
    if new != again:
        return "The two new passwords differ."
    lockout.begin(here.store, person.name)
    if not passwords.matches(here.store.password(person.name)[0], old):
        audit.note("password", "failed", person=person.name, text="the present password was wrong")
        return "The present password is wrong."
    lockout.clear(here.store, person.name)
    return "Choose another one than the present." if new == old else None
