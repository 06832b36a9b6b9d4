"""The seam to rotad: everything that the app knows or does goes through here, over rotad's socket."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import g

from rota.control.client import Connection, Declined, Rotad, Silent
from rota.control.state import Intent, IntentState, Window
from rota.web import audit, guard
from rota.web.context import context


class Control(Rotad):
    """rotad, asked in the name of whoever is signed in. Raises Silent and Declined as `Rotad` does."""

    def _send(self, connection: Connection, method: str, path: str, body: str | None) -> http.client.HTTPResponse:
        try:
            answer = super()._send(connection, method, path, body)
        except Declined:
            self._heard()
            raise
        self._heard()
        return answer

    def intend(self, body: dict[str, Any]) -> list[Intent]:
        """As `Rotad.intend`, with an audit line."""
        state = body.get("state")
        with self._noted(state if isinstance(state, str) and state in list(IntentState) else "intent", body):
            return super().intend(body)

    def plan(self, body: dict[str, Any]) -> Window:
        """As `Rotad.plan`, with an audit line."""
        with self._noted("plan-window", body):
            return super().plan(body)

    def call_off(self, window: str, body: dict[str, Any]) -> Window:
        """As `Rotad.call_off`, with an audit line."""
        with self._noted("call-off-window", body | {"window": window}):
            return super().call_off(window, body)

    def failover(self, body: dict[str, Any]) -> list[str]:
        """As `Rotad.failover`, with an audit line."""
        with self._noted("failover", body):
            return super().failover(body)

    @contextmanager
    def _noted(self, action: str, body: dict[str, Any]) -> Iterator[None]:
        person = self.person or audit.NOBODY
        try:
            yield
        except (Silent, Declined) as problem:
            audit.act(action, body, person, problem)
            raise
        audit.act(action, body, person, None)

    def _heard(self) -> None:
        here = context()
        here.heard = here.clock.now()


def rotad() -> Control:
    """rotad for this request."""
    if "rotad" not in g:
        person = guard.signed_in()
        g.rotad = Control(context().config.rotad_socket, person=person.name if person else None)
    found: Control = g.rotad
    return found
