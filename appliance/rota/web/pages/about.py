"""Certificates, versions, licences, and the support bundle."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

from flask import Blueprint, Response, render_template

from rota import __version__
from rota.model import dump
from rota.web.context import context
from rota.web.control import rotad
from rota.web.guard import Role, needs, open_to_all
from rota.web.pages.desk import desk
from rota.web.views import bundle
from rota.web.views import certificates as papers
from rota.web.views import licences as terms

blueprint = Blueprint("about", __name__)


@blueprint.get("/certificates")
@needs(Role.VIEWER)
def certificates() -> str:
    """Days left."""
    reading = desk().watch.now()
    found = papers.everything(reading.status if reading.known else None, context().config.certificate)
    warned = papers.warnings(reading.status) if reading.status and reading.known else []
    return render_template("pages/certificates.html", found=found, warned=warned, reading=reading)


@blueprint.get("/about")
@needs(Role.VIEWER)
def home() -> str:
    """Versions, the model, the nodes."""
    reading = desk().watch.now()
    return render_template("pages/about.html", reading=reading, status=reading.status, contents=bundle.CONTENTS)


@blueprint.get("/licences")
@open_to_all
def licences() -> str:
    """What Rota is built from."""
    return render_template("pages/licences.html", system=terms.SYSTEM, python=terms.python())


@blueprint.post("/support-bundle")
@needs(Role.OPERATOR)
def support_bundle() -> Response:
    """One archive for whoever helps."""
    now = datetime.now(UTC)
    status = rotad().status()
    site = desk().model.site()
    known = {
        "rota": __version__, "rotad": status.version, "model": status.model_hash, "python": platform.python_version(),
        "kernel": platform.release(),
    }  # fmt: skip
    versions = "".join(f"{name} {value}\n" for name, value in known.items())
    data = bundle.make(status, rotad().events(limit=bundle.EVENTS), dump(site) if site else None, versions, now)
    answer = Response(data, mimetype="application/gzip")
    answer.headers["Content-Disposition"] = f'attachment; filename="rota-support-{status.node}-{now:%Y%m%dT%H%M%SZ}.tar.gz"'
    return answer
