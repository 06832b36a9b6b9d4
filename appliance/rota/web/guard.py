"""Who asks, and whether their role allows it. Every view says which role it needs; one that says none is refused."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Flask, abort, current_app, g, redirect, request, session, url_for

from rota.web import audit
from rota.web.auth import tokens
from rota.web.auth.people import Person, Role
from rota.web.context import context
from rota.web.security import csrf

__all__ = ["Person", "Role", "needs", "open_to_all", "signed_in"]
View = TypeVar("View", bound=Callable[..., Any])
SESSION = "sid"  # key of the cookie: names a row of the store, and is worth nothing without it


class _Open(IntEnum):
    ALL = 0


def needs(role: Role, *, passive: bool = False) -> Callable[[View], View]:
    """The view is for people with at least `role`; others are sent to sign in, or refused with 403.

    `passive` requests (a page that looks for news by itself) do not keep a session alive.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs)

        guarded.rota_role = role  # type: ignore[attr-defined]
        guarded.rota_passive = passive  # type: ignore[attr-defined]
        return cast(View, guarded)

    return decorate


def open_to_all(view: View) -> View:
    """The view needs no sign-in."""
    view.rota_role = _Open.ALL  # type: ignore[attr-defined]
    return view


def signed_in() -> Person | None:
    """Who is signed in, or None."""
    found: Person | None = g.get("person")
    return found


def install(app: Flask) -> None:
    """Have every request judged before its view runs."""
    app.before_request(_judge)


def _judge() -> Any:
    endpoint = request.endpoint or ""
    view = current_app.view_functions.get(endpoint)
    g.person = None
    if view is None or endpoint.rpartition(".")[2] == "static":
        return None
    passive = getattr(view, "rota_passive", False)
    by_token = request.path.startswith("/api/") and "Authorization" in request.headers
    if by_token:
        g.person = _by_token()
    elif sid := session.get(SESSION):
        g.person = context().store.session(sid, touch=not passive)
        if g.person is None:
            session.pop(SESSION)
    role = getattr(view, "rota_role", None)
    if role is None:
        raise RuntimeError(f"the view {request.endpoint} does not say which role it needs")
    if role is not _Open.ALL:
        if g.person is None:
            return _ask_to_sign_in()
        if g.person.role < role:
            abort(403)
        if g.person.must_change and request.endpoint not in ("auth.password", "auth.change_password", "auth.sign_out"):
            if request.path.startswith("/api/"):
                abort(403)
            return redirect(url_for("auth.password"))
    # A token is no cookie: no other site can make a browser send it.
    if request.method not in ("GET", "HEAD", "OPTIONS") and not by_token:
        csrf.protect()
    return None


def _by_token() -> Person | None:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    found = tokens.holder(context().store, text.strip()) if kind.lower() == "bearer" else None
    if found is None:
        audit.note("token", "refused", person=audit.NOBODY, text="a token that does not hold")
        return None
    return found[0]


def _ask_to_sign_in() -> Any:
    if request.path.startswith("/api/"):
        abort(401)
    back = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("auth.sign_in", next=back))
