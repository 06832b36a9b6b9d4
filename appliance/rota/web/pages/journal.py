"""Events and reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, render_template, request
from markupsafe import Markup

from rota.commands.report import gather
from rota.control.client import Rotad
from rota.report import html as document
from rota.report.model import Report
from rota.report.plain import as_csv
from rota.web.context import context
from rota.web.control import rotad
from rota.web.guard import Role, needs
from rota.web.pages.desk import desk
from rota.web.pages.forms import Form
from rota.web.views import journal, words
from rota.web.views.service import line

blueprint = Blueprint("journal", __name__)
Page = str | tuple[str, int] | Response
SCANNED = 5_000  # events that a filter looks through


def _services() -> list[str]:
    status = desk().watch.now().status
    return [s.name for s in status.services] if status else []


def _part() -> tuple[Form, journal.Part]:
    form, now = Form(request.args), datetime.now(UTC)
    part = journal.Part(
        form.text("service"),
        form.text("kind"),
        form.text("text")[:100],
        form.moment("since", now),
        form.moment("until", now),
    )
    if part.service and part.service not in _services():
        form.wrong["service"] = f"There is no service “{part.service[:64]}”."
    if part.kind and part.kind not in words.KINDS:
        form.wrong["kind"] = f"There is no kind “{part.kind[:32]}”."
    if part.since and part.until and part.since >= part.until:
        form.wrong["until"] = "The end must lie after the beginning."
    return form, part


def _ask(part: journal.Part) -> tuple[list[object], bool]:
    narrowed = bool(part.kind or part.text)
    events = rotad().events(part.since, part.until, part.service or None, SCANNED if narrowed else journal.MOST + 1)
    found = part.choose(events)
    return [line(e) for e in found[: journal.MOST]], len(found) > journal.MOST or len(events) == SCANNED


@blueprint.get("/events")
@needs(Role.VIEWER)
def events() -> Page:
    """The journal, the newest first."""
    form, part = _part()
    recent, more = ([], False) if form.wrong else _ask(part)
    page = render_template(
        "pages/events.html", form=form, recent=recent, more=more, services=_services(), most=journal.MOST,
        kinds=[(kind, words.kind(kind)) for kind in words.KINDS], query=request.query_string.decode("ascii", "ignore"),
    )  # fmt: skip
    return (page, 400) if form.wrong else page


@blueprint.get("/events.csv")
@needs(Role.VIEWER)
def events_csv() -> Page:
    """The same for a spreadsheet, without the limit of a page."""
    form, part = _part()
    if form.wrong:
        return events()
    found = part.choose(rotad().events(part.since, part.until, part.service or None))
    return _file(journal.to_csv(found), "text/csv", f"events-{context().config.node}.csv")


def _file(text: str, kind: str, name: str) -> Response:
    answer = Response(text, mimetype=kind)
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@blueprint.get("/reports")
@needs(Role.VIEWER)
def reports() -> Page:
    """Availability over a period: on a page, as a file, for a spreadsheet; the page prints well."""
    form, now = Form(request.args), datetime.now(UTC)
    end = form.moment("to", now) or now
    begin = form.moment("from", now) or end - timedelta(days=30)
    service = form.text("service")
    if service and service not in _services():
        form.wrong["service"] = f"There is no service “{service[:64]}”."
    if not form.wrong and begin >= end:
        form.wrong["to"] = "The end must lie after the beginning."
    if form.wrong:
        return render_template("pages/reports.html", form=form, services=_services(), body="", title="Availability"), 400
    made = gather(Rotad(context().config.rotad_socket, timeout=20), begin, end, service or None)
    if (kind := form.text("as")) in ("html", "csv"):
        name = f"availability-{made.begin.astimezone():%Y-%m-%d}-{made.end.astimezone():%Y-%m-%d}.{kind}"
        return _file(document.html(made) if kind == "html" else as_csv(made), f"text/{kind}", name)
    return _shown(form, made)


def _shown(form: Form, made: Report) -> str:
    query = "&".join(filter(None, (request.query_string.decode("ascii", "ignore"), "as=")))
    return render_template(
        "pages/reports.html", form=form, services=_services(), title=document.title(made), query=query,
        body=Markup(document.body(made)),  # noqa: S704 (escaped there)
    )  # fmt: skip
