"""What the pages of one app share: rotad's last word, the pieces made of it, and the model of the site."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from flask import current_app

from rota.control.client import Rotad
from rota.control.state import Status
from rota.model import Site, load
from rota.preflight.kept import KEPT
from rota.web.context import Context, context
from rota.web.live import Watch
from rota.web.pages.board import Board

_making = threading.Lock()


@dataclass
class Model:
    """The model at `path`, read anew when the file has changed. None: it cannot be read, and pages say less."""

    path: Path
    _read: tuple[int, int] | None = None
    _site: Site | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def site(self) -> Site | None:
        """The site as of now."""
        with self._lock:
            try:
                stat = self.path.stat()
            except OSError:
                return None
            if (stat.st_mtime_ns, stat.st_size) != self._read:
                self._site = load(self.path).site
                self._read = (stat.st_mtime_ns, stat.st_size)
            return self._site


@dataclass
class Desk:
    """Of one app."""

    node: str
    wallboard: bool
    watch: Watch
    board: Board
    model: Model
    streams: threading.BoundedSemaphore
    preflight: Path = KEPT


def _make(of: Context) -> Desk:
    def ask() -> Status:
        status = Rotad(of.config.rotad_socket, timeout=3.0).status()
        of.heard = of.clock.now()
        return status

    streams = threading.BoundedSemaphore(of.config.streams)
    return Desk(of.config.node, of.config.wallboard, Watch(ask), Board(), Model(of.config.site), streams)


def desk() -> Desk:
    """That of the app that answers now."""
    with _making:
        found: Desk | None = current_app.extensions.get("rota.desk")
        if found is None:
            found = current_app.extensions["rota.desk"] = _make(context())
        return found
