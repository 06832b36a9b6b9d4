"""What the API needs of rotad: the daemon implements it, tests stand in for it with a few lists in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from rota.control.state import (
    Association,
    AuditRequest,
    Event,
    FailoverRequest,
    Intent,
    IntentRequest,
    Status,
    Window,
    WindowRequest,
)


class Refused(Exception):
    """An act that was understood and not done. `title` is one line for people, `code` a fixed word for programs."""

    def __init__(self, code: str, title: str, status: int = 409) -> None:
        super().__init__(title)
        self.code = code
        self.title = title
        self.status = status


class Controller(Protocol):
    """One node's rotad, as its API sees it."""

    def status(self) -> Status:
        """Everything at this moment; answers from memory."""
        ...

    async def associations(self, service: str | None) -> list[Association]:
        """Connections that are open now, through this node and through every peer that answers."""
        ...

    async def events(
        self, since: datetime | None, until: datetime | None, service: str | None, limit: int, general: bool = False
    ) -> list[Event]:
        """The journal by time, both ends included; the newest `limit` when more match.

        With `general` also the events about no service, beside those of `service`.
        """
        ...

    def subscribe(self) -> AsyncIterator[Event]:
        """Every event from now on, until the caller closes the iterator."""
        ...

    async def intend(self, request: IntentRequest, person: str) -> list[Intent]:
        """Record and apply an intent; raises Refused."""
        ...

    def planned(self) -> list[Window]:
        """Every maintenance window that is kept, those that are over too, by its begin."""
        ...

    async def plan(self, request: WindowRequest, person: str) -> Window:
        """Plan a maintenance window, on both nodes; raises Refused."""
        ...

    async def call_off(self, window: str, reason: str, person: str) -> Window:
        """Call a planned one off, by its id; raises Refused."""
        ...

    def audit(self, request: AuditRequest, person: str) -> Event:
        """Put what somebody did elsewhere into the journal, here and on every peer."""
        ...

    async def failover(self, request: FailoverRequest, person: str) -> list[str]:
        """Hand groups to the peer and say which; raises Refused."""
        ...
