"""The status page, its live stream, and the wall board."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from flask import Blueprint, Response, abort, current_app, render_template, request, stream_with_context

from rota.web.guard import Role, needs, open_to_all
from rota.web.pages.desk import Desk, desk
from rota.web.views.overview import Wanted, sections

blueprint = Blueprint("status", __name__)
PACE = 1.0  # seconds between two looks of a stream
BEAT = 5.0  # seconds after which a stream without news says that it lives
LONGEST = 600.0  # seconds; the browser connects again by itself, and is asked anew who it is


@blueprint.get("/")
@needs(Role.VIEWER)
def home() -> str:
    """Everything at a glance."""
    here = desk()
    view, pieces, seen = here.board.show(here.watch.now(), here.model.site(), here.node)
    by = request.args.get("by") or ("department" if any(c.head.department for c in view.cards) else "kind")
    wanted = Wanted(request.args.get("q", "")[:100].strip(), request.args.get("show") == "problems", by)
    return render_template(
        "pages/status.html", view=view, pieces=pieces, seen=seen, wanted=wanted, sections=sections(view.cards, wanted),
        again=request.full_path.rstrip("?"),
    )  # fmt: skip


@blueprint.get("/status/stream")
@needs(Role.VIEWER, passive=True)
def stream() -> Response:
    """Changes of the status page as server-sent events."""
    return _stream(request.args.get("since", "")[:40])


@blueprint.get("/wall")
@open_to_all
def wall() -> str:
    """A board for the wall of a control room: no sign-in, if the configuration allows it."""
    here = desk()
    if not here.wallboard:
        abort(404)
    view, pieces, seen = here.board.show(here.watch.now(), here.model.site(), here.node)
    return render_template("pages/wall.html", view=view, pieces=pieces, seen=seen)


@blueprint.get("/wall/stream")
@open_to_all
def wall_stream() -> Response:
    """Changes of the wall board."""
    if not desk().wallboard:
        abort(404)
    return _stream(request.args.get("since", "")[:40], only=("headline", "s."))


def _stream(since: str, only: tuple[str, ...] = ("",)) -> Response:
    here = desk()
    if not here.streams.acquire(blocking=False):
        return Response("too many pages follow live\n", 503, {"Retry-After": "10"}, mimetype="text/plain")
    pace = current_app.config.get("ROTA_STREAM_PACE", PACE)
    answer = Response(stream_with_context(_events(here, since, only, pace)), mimetype="text/event-stream")
    answer.call_on_close(here.streams.release)
    return answer


def _events(here: Desk, since: str, only: tuple[str, ...], pace: float) -> Iterator[str]:
    began = time.monotonic()
    said = float("-inf")
    while time.monotonic() - began < LONGEST:
        view, _, _ = here.board.show(here.watch.now(), here.model.site(), here.node)
        news, since = here.board.newer(since)
        chosen = {name: html for name, html in news.items() if name.startswith(only)}
        if chosen or time.monotonic() - said >= BEAT:
            said = time.monotonic()
            body = {"version": since, "heard": view.headline.heard, "level": view.headline.level, "pieces": chosen}
            yield f"event: news\ndata: {json.dumps(body)}\n\n"
        time.sleep(pace)
