"""The pieces of the status page as HTML, each with the number of the reading that changed it last.

A page that follows live is sent the pieces that are newer than what it has. A piece is made once, however many look, and
again only when what it says has changed: with 1,000 members a quiet second costs next to nothing.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import Any

from flask import render_template
from markupsafe import Markup

from rota.model import Site
from rota.web.live import Reading
from rota.web.views.overview import Overview, overview


@dataclass(frozen=True)
class _Piece:
    model: Any
    html: Markup
    number: int


class Board:
    """The pieces of one app. Safe for threads."""

    def __init__(self) -> None:
        self._epoch = secrets.token_hex(4)  # numbers of another process mean nothing here
        self._lock = threading.Lock()
        self._number = -1
        self._view: Overview | None = None
        self._pieces: dict[str, _Piece] = {}

    def show(self, reading: Reading, site: Site | None, node: str) -> tuple[Overview, dict[str, Markup], str]:
        """The view, its pieces by their id in the page, and the version to ask from later. Needs the app's context."""
        with self._lock:
            if self._view is None or reading.number > self._number:
                self._take(overview(reading, site, node), reading.number)
            assert self._view is not None  # noqa: S101 (just taken)
            return self._view, {name: piece.html for name, piece in self._pieces.items()}, f"{self._epoch}-{self._number}"

    def newer(self, version: str) -> tuple[dict[str, Markup], str]:
        """The pieces that have changed since `version`, and the version that they make."""
        epoch, _, number = version.partition("-")
        since = int(number) if epoch == self._epoch and number.isdecimal() else -1
        with self._lock:
            found = {name: piece.html for name, piece in self._pieces.items() if piece.number > since}
            return found, f"{self._epoch}-{self._number}"

    def _take(self, view: Overview, number: int) -> None:
        models: dict[str, tuple[str, Any]] = {
            "headline": ("headline", view.headline),
            "notices": ("notices", (view.pair, view.notices)),
        }
        for card in view.cards:
            models[card.head.id] = ("head", card.head)
            models |= {row.id: ("row", row) for row in card.rows}
        stale = {name: what for name, what in models.items() if not self._same(name, what[1])}
        html = _render(stale)
        self._pieces = {
            name: _Piece(model, html[name], number) if name in stale else self._pieces[name]
            for name, (_, model) in models.items()
        }
        self._view, self._number = view, number

    def _same(self, name: str, model: Any) -> bool:
        return name in self._pieces and self._pieces[name].model == model


def _render(models: dict[str, tuple[str, Any]]) -> dict[str, Markup]:
    """All pieces in one go: a call of the template engine for each would cost more than the pieces."""
    if not models:
        return {}
    text = render_template("pages/pieces.html", pieces=list(models.values()))
    parts = text.split("<!--piece-->")[1:]
    return {name: Markup(part.strip()) for name, part in zip(models, parts, strict=True)}  # noqa: S704 (our own template)
