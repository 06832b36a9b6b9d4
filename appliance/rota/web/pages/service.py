"""The page of one service."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, abort, render_template
from markupsafe import Markup

from rota.control.client import Rotad
from rota.control.state import Event, Status
from rota.preflight.sheet import lines, to_csv
from rota.report.svg import legend, timeline
from rota.web.control import rotad
from rota.web.guard import Role, needs
from rota.web.pages.desk import desk
from rota.web.pages.missing import no_service
from rota.web.views import preflight, topology
from rota.web.views import service as views

blueprint = Blueprint("service", __name__, url_prefix="/service")
RECENT = 12  # events


@blueprint.get("/<name>")
@needs(Role.VIEWER)
def page(name: str) -> str | tuple[str, int]:
    """Everything about one service."""
    here = desk()
    reading = here.watch.now()
    status = reading.status
    if status is None:
        return render_template("pages/silent.html", title=name), 503
    one = next((s for s in status.services if s.name == name), None)
    if one is None:
        return no_service(name, status)
    view, pieces, _ = here.board.show(reading, here.model.site(), here.node)
    card = next(c for c in view.cards if c.head.name == name)
    model = here.model.site()
    service = model.services.get(name) if model else None
    context = {"view": view, "pieces": pieces, "card": card, "one": one, "known": reading.known, "service": service}
    if reading.known:
        events, watched_from = _day(rotad(), name, status)
        report, turns = views.last_day(events, status, one, watched_from)
        recent = [views.line(e) for e in reversed(rotad().events(service=name, limit=RECENT))]
        context |= {
            "picture": Markup(topology.picture(one, status)),  # noqa: S704 (escaped there)
            "timeline": Markup(timeline(report)),  # noqa: S704
            "legend": Markup(legend()),  # noqa: S704
            "turns": turns,
            "recent": recent,
            "callers": views.callers(rotad().associations(name)),
        }
    if service is not None and model is not None:
        context |= {
            "facts": list(views.facts(service)),
            "check": views.check(service),
            "time_outs": views.time_outs(service),
            "sheet": list(lines(model, name)),
            "preflight": preflight.last(here.preflight, name),
        }
    return render_template("pages/service.html", **context)


@blueprint.get("/<name>/allow-list.csv")
@needs(Role.VIEWER)
def sheet(name: str) -> Response:
    """The list to hand to the vendor, for a spreadsheet."""
    site = desk().model.site()
    if site is None or name not in site.services:
        abort(404)
    answer = Response(to_csv(list(lines(site, name))), mimetype="text/csv")
    answer.headers["Content-Disposition"] = f'attachment; filename="allow-list-{name}.csv"'
    return answer


def _day(asked: Rotad, name: str, status: Status) -> tuple[list[Event], datetime | None]:
    """The journal of the last day as far as it tells of this service, and where the journal begins if that is later."""
    begin = status.at - views.DAY
    events = asked.events(since=begin, service=name, general=True)
    before = asked.events(until=begin, limit=1)
    first = begin if before else min((e.at for e in events), default=None)
    return events, first
