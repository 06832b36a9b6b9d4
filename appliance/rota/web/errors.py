"""Pages for what goes wrong: they say what happened and what to do, and nothing of the inside."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from rota.control.client import Declined, Silent
from rota.web.context import context

log = logging.getLogger("rota.web")
_WORDS = {
    400: ("This request was not understood", "Go back and try again."),
    403: ("You may not do this", "Your role does not allow it. Ask an administrator of Rota if it should."),
    404: ("There is no such page", "Check the address, or begin at the status page."),
    405: ("This cannot be done in this way", "Go back and use the button on the page."),
    401: ("Sign in first", "Sign in, or send a token that holds."),
    413: ("That was too much", "What was sent is larger than Rota takes."),
    415: ("This kind of content is not taken", "Send it in another form."),
    429: ("Too many requests", "Wait a minute, then try again."),
    500: ("A fault of Rota's own", "Traffic goes on. The node's log says more: journalctl -u rota-web."),
}
_CODES = {
    400: "bad-request", 401: "unauthorised", 403: "forbidden", 404: "not-found", 405: "method-not-allowed", 413: "too-large",
    415: "media-type", 429: "too-many", 500: "internal", 503: "silent",
}  # fmt: skip


def install(app: Flask) -> None:
    """Give `app` its error pages."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(Silent, _silent)
    app.register_error_handler(Declined, _declined)
    app.register_error_handler(Exception, _fault)


def page(status: int, title: str, advice: str, code: str | None = None) -> Response:
    """An error as a page, or below /api as a Problem (RFC 9457)."""
    if request.path.startswith("/api/"):
        body = {"type": "about:blank", "status": status, "code": code or _CODES.get(status, "error"), "title": title}
        answer = jsonify(body)
        answer.content_type = "application/problem+json"
    else:
        answer = make_response(render_template("error.html", status=status, title=title, advice=advice))
    answer.status_code = status
    return answer


def since() -> str:
    """Since when nothing is known, in words."""
    heard = context().heard
    return f"since {heard:%H:%M:%S} UTC on {heard:%d %B %Y}" if heard else "since this page's server started"


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # redirects that Werkzeug raises
        return Response(error.get_response().get_data(), status, dict(error.get_response().headers))
    title, advice = _WORDS.get(status, (error.name, "Go back and try again."))
    answer = page(status, title, advice)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            answer.headers[name] = value
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="rota"'
    return answer


def _csrf(_: CSRFError) -> Response:
    return page(400, "This form is too old", "Go back, load the page anew and send it again.", "csrf")


def _silent(problem: Silent) -> Response:
    log.warning("%s", problem)
    advice = "Traffic goes on as it was. On the node: systemctl status rota-control."
    return page(503, f"Nothing is known {since()}: rotad does not answer", advice, "silent")


def _declined(problem: Declined) -> Response:
    status = problem.problem.status
    return page(status, str(problem), "Nothing was changed.", problem.problem.code)


def _fault(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return page(500, *_WORDS[500])
