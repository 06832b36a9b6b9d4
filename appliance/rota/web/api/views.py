"""Hands requests on to rotad, with the person's role and an audit line; the answers are rotad's own.

A request shows a token (`Authorization: Bearer rota_…`) or comes from a browser with a session, and then an act needs the
CSRF token in the header X-CSRFToken. Every error is a Problem (RFC 9457).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, jsonify, render_template, request, url_for
from pydantic import TypeAdapter

from rota.control.client import ACT_SECONDS, Declined, Silent
from rota.control.state import Intent, Window
from rota.web.api.description import PREFIX, description
from rota.web.control import rotad
from rota.web.errors import page
from rota.web.guard import Role, needs

blueprint = Blueprint("api", __name__, url_prefix=PREFIX)
_INTENTS = TypeAdapter(list[Intent])
_WINDOW = TypeAdapter(Window)
STREAMS = 4  # each is one of the 32 that rotad gives to this app
_free = threading.BoundedSemaphore(STREAMS)


def _read(path: str) -> Response:
    """What rotad says to a GET, as it says it."""
    query = request.query_string.decode("ascii", "replace")
    return Response(rotad().ask("GET", f"{path}?{query}" if query else path), content_type="application/json")


@blueprint.get("/status")
@needs(Role.VIEWER)
def status() -> Response:
    """Everything at this moment."""
    return _read("/v1/status")


@blueprint.get("/services/<service>")
@needs(Role.VIEWER)
def service(service: str) -> Response:
    """One service with its members."""
    return _read(f"/v1/services/{quote(service, safe='')}")


@blueprint.get("/events")
@needs(Role.VIEWER)
def events() -> Response:
    """The journal."""
    return _read("/v1/events")


@blueprint.get("/associations")
@needs(Role.VIEWER)
def associations() -> Response:
    """Who is connected now."""
    return _read("/v1/associations")


@blueprint.get("/intents")
@needs(Role.VIEWER)
def intents() -> Response:
    """What operators want of members."""
    return _read("/v1/intents")


@blueprint.get("/windows")
@needs(Role.VIEWER)
def windows() -> Response:
    """Maintenance windows."""
    return _read("/v1/windows")


@blueprint.get("/alarms")
@needs(Role.VIEWER)
def alarms() -> Response:
    """What a person should look at."""
    return _read("/v1/alarms")


@blueprint.get("/events/stream")
@needs(Role.VIEWER, passive=True)
def stream() -> Response:
    """Changes as they happen."""
    if request.args:
        return page(400, "no parameter is known here", "")
    if not _free.acquire(blocking=False):
        return page(503, f"{STREAMS} streams are open already", "", "too-many")
    stack = ExitStack()
    stack.callback(_free.release)
    try:
        lines = stack.enter_context(rotad().relay())
    except (Silent, Declined):
        stack.close()
        raise
    answer = Response(_relayed(lines), content_type="text/event-stream")
    answer.call_on_close(stack.close)
    return answer


def _relayed(lines: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from lines
    except Silent:
        return  # the reader sees the end, and connects again


@blueprint.post("/intents")
@needs(Role.OPERATOR)
def intend() -> Response:
    """Drain, halt or bring back a member."""
    body = _body()
    if isinstance(body, Response):
        return body
    return Response(_INTENTS.dump_json(rotad().intend(body)), content_type="application/json")


@blueprint.post("/windows")
@needs(Role.OPERATOR)
def plan() -> Response:
    """Plan a maintenance window."""
    body = _body()
    if isinstance(body, Response):
        return body
    return Response(_WINDOW.dump_json(rotad().plan(body)), content_type="application/json")


@blueprint.post("/windows/<window>/call-off")
@needs(Role.OPERATOR)
def call_off(window: str) -> Response:
    """Call one off."""
    body = _body()
    if isinstance(body, Response):
        return body
    return Response(_WINDOW.dump_json(rotad().call_off(window, body)), content_type="application/json")


@blueprint.post("/failover")
@needs(Role.OPERATOR)
def failover() -> Response:
    """Hand VRRP groups to the peer."""
    body = _body()
    if isinstance(body, Response):
        return body
    return jsonify(rotad().failover(body))


def _body() -> dict[str, Any] | Response:
    """The JSON object that was sent, or what is wrong with it; rotad judges what is in it."""
    if request.args:
        return page(400, "no parameter is known here", "")
    if request.mimetype != "application/json":
        return page(415, "a body has Content-Type: application/json", "")
    try:
        found = json.loads(request.get_data())
    except (ValueError, RecursionError):
        return page(400, "the body is no JSON", "")
    return found if isinstance(found, dict) else page(400, "the body is no JSON object", "")


@blueprint.get("/openapi.json")
@needs(Role.VIEWER)
def openapi() -> Response:
    """This description."""
    return jsonify(description())


@blueprint.get("/")
@needs(Role.VIEWER)
def pages() -> str:
    """The description as a page."""
    found = description()
    return render_template("api.html", api=found, raw=url_for("api.openapi"), seconds=int(ACT_SECONDS))
