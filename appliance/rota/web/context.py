"""What belongs to one app: its configuration, clock and store, and when rotad last answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import current_app

from rota.control.clock import Clock
from rota.web.auth.store import Store
from rota.web.config import WebConfig


@dataclass
class Context:
    """One app's own. `heard` is when rotad last answered; None: not since this app started."""

    config: WebConfig
    clock: Clock
    store: Store
    heard: datetime | None = None
    silent_at: float = float("-inf")  # when rotad last did not take an audit line, on the steady clock


def context() -> Context:
    """That of the app that answers now."""
    found: Context = current_app.extensions["rota"]
    return found
