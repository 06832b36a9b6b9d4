"""The administrator's pages: people, their roles and sessions."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from rota.web import audit
from rota.web.auth import lockout, signin
from rota.web.auth.people import NAME, Person, Source
from rota.web.context import context
from rota.web.guard import Role, needs, signed_in

blueprint = Blueprint("people", __name__, url_prefix="/people")
Answer = str | Response | tuple[str, int]


def _page(
    error: str = "", *, name: str = "", role: str = "", once: tuple[str, str] | None = None, status: int = 200
) -> Answer:
    """The list, and the form as it was filled in; `once` is a name and the one-time password that is shown this once."""
    found = context().store.people()
    page = render_template("people.html", people=found, roles=list(Role), error=error, name=name, role=role, once=once)
    return page, status


@blueprint.get("")
@needs(Role.ADMINISTRATOR)
def index() -> Answer:
    """Everybody."""
    return _page()


@blueprint.post("")
@needs(Role.ADMINISTRATOR)
def add() -> Answer:
    """A new local person, with a one-time password."""
    name, word = request.form.get("name", "").strip(), request.form.get("role", "")
    try:
        role = Role.of(word)
    except ValueError:
        return _page("Choose a role.", name=name, role=word, status=400)
    if not NAME.fullmatch(name):
        return _page("A name has up to 48 letters, digits, dots, dashes, @ or +.", name=name, role=word, status=400)
    try:
        context().store.add(Person(name, role, must_change=True))
    except ValueError as problem:
        return _page(f"Choose another name: {problem}.", name=name, role=word, status=409)
    password = signin.one_time_password(context(), name)
    _note("person-added", "done", f"{name} as {role.word}")
    return _page(once=(name, password))


def _of(view: Callable[[Person], Answer]) -> Callable[[str], Answer]:
    """The view gets the person that the path names; a page that says so when there is none."""

    @wraps(view)
    def found(name: str) -> Answer:
        person = context().store.person(name)
        if person is None:
            return _page(f"There is nobody called “{name[:48]}” here.", status=404)
        return view(person)

    return found


@blueprint.post("/<name>/role")
@needs(Role.ADMINISTRATOR)
@_of
def change_role(person: Person) -> Answer:
    """Another role for a local person; sessions that are open have it at once."""
    try:
        role = Role.of(request.form.get("role", ""))
    except ValueError:
        return _page("Choose a role.", status=400)
    if person.source is not Source.LOCAL:
        return _page(f"The role of {person.name} follows from their groups in the directory.", status=409)
    return _try("role", person, f"{person.name} from {person.role.word} to {role.word}", role=role)


@blueprint.post("/<name>/close")
@needs(Role.ADMINISTRATOR)
@_of
def close(person: Person) -> Answer:
    """No more sign-in, sessions or tokens."""
    return _try("person-closed", person, person.name, disabled=True)


@blueprint.post("/<name>/open")
@needs(Role.ADMINISTRATOR)
@_of
def reopen(person: Person) -> Answer:
    """Take that back."""
    return _try("person-opened", person, person.name, disabled=False)


@blueprint.post("/<name>/one-time")
@needs(Role.ADMINISTRATOR)
@_of
def one_time(person: Person) -> Answer:
    """A new one-time password; what was known before no longer holds."""
    if person.source is not Source.LOCAL:
        return _page(f"The password of {person.name} belongs to the directory.", status=409)
    password = signin.one_time_password(context(), person.name)
    _note("password", "done", f"one-time password for {person.name}")
    return _page(once=(person.name, password))


@blueprint.post("/<name>/unlock")
@needs(Role.ADMINISTRATOR)
@_of
def unlock(person: Person) -> Answer:
    """Forget failed sign-ins."""
    lockout.clear(context().store, person.name)
    return _done("unlocked", person.name, f"{person.name} may try again.")


@blueprint.post("/<name>/sessions")
@needs(Role.ADMINISTRATOR)
@_of
def end_sessions(person: Person) -> Answer:
    """End every session of a person."""
    count = context().store.end_all(person.name)
    return _done("sessions-ended", person.name, f"{count} session{'' if count == 1 else 's'} of {person.name} ended.")


@blueprint.post("/<name>/remove")
@needs(Role.ADMINISTRATOR)
@_of
def remove(person: Person) -> Answer:
    """Remove a person with sessions and tokens."""
    try:
        context().store.remove(person.name)
    except ValueError as problem:
        _note("person-removed", "refused", f"{person.name}: {problem}")
        return _page(f"{person.name} stays: {problem}.", status=409)
    return _done("person-removed", person.name, f"{person.name} is removed.")


def _try(action: str, person: Person, text: str, *, role: Role | None = None, disabled: bool | None = None) -> Answer:
    try:
        context().store.change(person.name, role=role, disabled=disabled)
    except ValueError as problem:
        _note(action, "refused", f"{text}: {problem}")
        return _page(f"Nothing was changed: {problem}.", status=409)
    if disabled:
        context().store.end_all(person.name)
    return _done(action, text, f"{person.name} is changed.")


def _done(action: str, text: str, said: str) -> Answer:
    _note(action, "done", text)
    flash(said)
    return redirect(url_for("people.index"))


def _note(action: str, outcome: audit.Outcome, text: str) -> None:
    person = signed_in()
    audit.note(action, outcome, person=person.name if person else audit.NOBODY, text=text)
