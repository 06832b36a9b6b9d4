"""Pages for names that nobody knows here: they say so, and what there is instead."""

from __future__ import annotations

from difflib import get_close_matches

from flask import render_template

from rota.control.state import Status


def no_service(name: str, status: Status) -> tuple[str, int]:
    """There is no such service."""
    return _page("service", name, [s.name for s in status.services])


def no_member(name: str, status: Status) -> tuple[str, int]:
    """There is no such member."""
    return _page("member", name, sorted({m.name for s in status.services for m in s.members}))


def no_window(name: str) -> tuple[str, int]:
    """There is no such maintenance window."""
    return render_template("pages/missing.html", kind="window", name=name[:100], near=[], many=0), 404


def _page(kind: str, name: str, known: list[str]) -> tuple[str, int]:
    near = get_close_matches(name, known, n=5, cutoff=0.5)
    return render_template("pages/missing.html", kind=kind, name=name[:100], near=near, many=len(known)), 404
