"""The pages that people look at and click. Views translate: ask rotad, build a view model, render."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, request, url_for

from rota.web.guard import signed_in
from rota.web.pages.desk import desk

blueprint = Blueprint("pages", __name__)
_NAVIGATION = [
    ("status.home", "Status"), ("upkeep.home", "Maintenance"), ("journal.events", "Events"), ("journal.reports", "Reports"),
    ("about.certificates", "Certificates"), ("about.home", "About"), ("people.index", "People"),
]  # fmt: skip

_PARTS = {"upkeep.home": ("failover.form", "failover.do"), "status.home": ("service.page",)}  # pages of another part


@lru_cache(maxsize=64)
def _digest(path: Path, _: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def asset(name: str) -> str:
    """Address of a static file; another one whenever it has changed, so that browsers may keep what they have."""
    found = Path(current_app.static_folder or "") / name
    digest = _digest(found, found.stat().st_mtime_ns) if found.is_file() else "none"
    return url_for("static", filename=name, v=digest)


@blueprint.app_context_processor
def _for_pages() -> dict[str, Any]:
    """The navigation, with the part in which this page is, and the addresses of static files."""
    return {
        "asset": asset,
        "navigation": [(url_for(e), text, _here(e)) for e, text in _NAVIGATION if _may(e)],
        "wallboard": desk().wallboard,
    }


def _may(endpoint: str) -> bool:
    """Whether who is signed in may see the page of `endpoint`."""
    person = signed_in()
    return person is not None and person.role >= getattr(current_app.view_functions[endpoint], "rota_role", 0)


def _here(endpoint: str) -> bool:
    """Whether the page belongs to this entry: it is the entry itself, or of a part that has no other one."""
    part = endpoint.partition(".")[0]
    if request.endpoint in _PARTS.get(endpoint, ()):
        return True
    shared = sum(e.partition(".")[0] == part for e, _ in _NAVIGATION) > 1
    return endpoint == request.endpoint if shared else part == (request.endpoint or "").partition(".")[0]
