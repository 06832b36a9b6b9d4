"""What two rotad tell each other, and what one knows of the other. Messages only; `rota.control.peer` carries them.

Each message holds the sender's whole standing, so nothing has to be remembered about what the other side has heard: a cut
of any length ends with the next message. Intents go along in full whenever the two digests differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import Field

from rota.control.clock import Clock
from rota.control.state import Closed, FailoverRequest, Intent, IntentRequest, PeerState, Window

MAX_INTENTS = 20_000
MAX_EVENTS = 500
MAX_WINDOWS = 1_000


class Hello(Closed):
    """How the sender stands."""

    node: str
    version: str
    model_hash: str
    digest: str  # of its intents
    windows: str = ""  # the same of its maintenance windows
    held: dict[str, int] | None  # group → addresses of it on its interfaces; None: it cannot tell
    unfit: dict[str, str]  # group → why it could not take it over; a group that is not here is fit
    down: list[str] = []  # services of which it sees no member that serves
    sessions: dict[str, int] = {}  # "service/member" → connections, where there are any


class Exchange(Closed):
    """One side's turn."""

    hello: Hello
    intents: list[Intent] = Field([], max_length=MAX_INTENTS)
    windows: list[Window] = Field([], max_length=MAX_WINDOWS)
    vector: dict[str, int] = {}


class Answer(Closed):
    """The other side's turn."""

    hello: Hello
    intents: list[Intent] = Field([], max_length=MAX_INTENTS)
    windows: list[Window] = Field([], max_length=MAX_WINDOWS)
    events: list[list[Any]] = Field([], max_length=MAX_EVENTS)


class Errand(Closed):
    """An act that one node asks another to do, in the name of a person."""

    request: IntentRequest
    person: str = Field(min_length=1, max_length=64)


class FailoverErrand(Closed):
    """The same for a failover: the active node does it."""

    request: FailoverRequest
    person: str = Field(min_length=1, max_length=64)


SILENT_AFTER = 3.0  # seconds without an exchange: three were missed


@dataclass
class PeerView:
    """What this node knows of one peer."""

    node: str
    clock: Clock
    hello: Hello | None = None
    problem: str | None = "not heard yet"
    heartbeat: bool = False
    since: datetime | None = None
    reachable: bool = False
    _heard: float = field(default=float("-inf"))  # in either direction
    _reached: float = field(default=float("-inf"))  # by our own request

    def heard(self, hello: Hello) -> None:
        """A message came, whoever began."""
        self.hello, self._heard = hello, self.clock.steady()

    def reached(self) -> bool:
        """Our request was answered; tells whether that is news."""
        self._reached, self.problem = self.clock.steady(), None
        return self._turn(True)

    def failed(self, problem: str) -> bool:
        """Our request failed; tells whether the peer counts as silent from now on."""
        self.problem = problem
        if self.clock.steady() - self._reached < SILENT_AFTER:
            return False
        return self._turn(False)

    def _turn(self, reachable: bool) -> bool:
        news = self.reachable is not reachable
        if news:
            self.reachable, self.since = reachable, self.clock.now()
        return news

    def held(self) -> dict[str, int] | None:
        """What it holds, as long as that is fresh."""
        if self.hello is None or self.clock.steady() - self._heard >= SILENT_AFTER:
            return None
        return self.hello.held

    def sessions(self) -> dict[str, int]:
        """Its connections, as long as that is fresh."""
        return self.hello.sessions if self.hello and self.held() is not None else {}

    def state(self, version: str, model_hash: str, digest: str, windows: str) -> PeerState:
        """The peer as a status shows it, next to our own version, model, intents and maintenance windows."""
        hello = self.hello if self.reachable else None
        return PeerState(
            node=self.node,
            reachable=self.reachable,
            heartbeat=self.heartbeat,
            since=self.since,
            version=hello.version if hello else None,
            model_hash=hello.model_hash if hello else None,
            in_step=hello is not None
            and not self.differences(version, model_hash)
            and (hello.digest, hello.windows) == (digest, windows),
            problem=self.problem or "; ".join(self.differences(version, model_hash)) or None,
        )

    def differences(self, version: str, model_hash: str) -> list[str]:
        """What a rollout has yet to bring in line, in words."""
        if self.hello is None:
            return []
        found = []
        if self.hello.version != version:
            found.append(f"{self.node} runs version {self.hello.version}, this node {version}")
        if self.hello.model_hash != model_hash:
            found.append(f"{self.node} has another site model")
        return found
