"""For probes, without sign-in: /healthz says that the app lives, /readyz that rotad answers."""

from __future__ import annotations

from flask import Blueprint

from rota.control.client import Declined, Silent
from rota.web.control import rotad
from rota.web.guard import open_to_all

blueprint = Blueprint("health", __name__)
_PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


@blueprint.get("/healthz")
@open_to_all
def healthz() -> tuple[str, int, dict[str, str]]:
    """The app lives."""
    return "ok\n", 200, _PLAIN


@blueprint.get("/readyz")
@open_to_all
def readyz() -> tuple[str, int, dict[str, str]]:
    """rotad answers this app, and lets it read."""
    try:
        rotad().alarms()
    except (Silent, Declined) as problem:
        return f"{problem}\n", 503, _PLAIN
    return "ok\n", 200, _PLAIN
