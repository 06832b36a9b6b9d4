"""Operators' intents: on disk before they are promised, the same on both nodes in the end.

The set is a last-writer-wins map (Shapiro et al. 2011, 3.2): one register for each member, ordered by a Lamport counter
and the node's name. Merging is commutative, associative and idempotent, so it does not matter how often, in what order
or over which cut in the network intents arrive. Clocks decide nothing. A `ready` stays as a record: it must win over the
drain that it ended, when a node that slept through it comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rota.control import atomic
from rota.control.clock import Clock
from rota.control.state import Intent, IntentState

Key = tuple[str, str]  # service, member
_LIST = TypeAdapter(list[Intent])
MOST = 20_000  # far above any site; a peer gone mad must not fill the memory
FURTHEST = 2**53  # JSON numbers are exact up to here


def key_of(intent: Intent) -> Key:
    """The member that an intent is about."""
    return (intent.service, intent.member)


def rank(intent: Intent) -> tuple[int, str, str]:
    """What decides between two intents for one member.

    The text comes last: a node that lost its disk may use a counter twice, and even then both sides must agree.
    """
    return (*intent.order, intent.model_dump_json())


class IntentStore:
    """The intents of one node, kept at `path`.

    `begun_anew` tells that there was no usable file: what HAProxy has then counts (see `adopt`).
    """

    def __init__(self, path: Path, node: str, clock: Clock) -> None:
        self._path = path
        self._node = node
        self._clock = clock
        self._intents: dict[Key, Intent] = {}
        self._deadlines: dict[Key, tuple[Intent, float]] = {}
        self._digest: str | None = None
        self.begun_anew = False
        self.damage: str | None = None
        self.problem: str | None = None  # why the file does not hold what is in force
        self._load()

    def _load(self) -> None:
        try:
            found = _LIST.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            self.begun_anew = True
            return
        except OSError as error:
            self.begun_anew = True
            self.damage = f"the intents cannot be read: {error.strerror}"
            return
        except ValidationError as error:
            self.begun_anew = True
            try:
                aside = atomic.set_aside(self._path, self._clock.now().strftime("%Y%m%dT%H%M%SZ")).name
            except OSError as second:
                aside = f"nothing ({second.strerror})"
            self.damage = f"the intents were damaged ({error.error_count()} errors); set aside as {aside}"
            return
        for intent in found:
            self._accept(intent)

    def text(self) -> str:
        """What the file has to hold."""
        return _LIST.dump_json(self.all(), indent=1).decode() + "\n"

    def save(self, text: str | None = None) -> bool:
        """Write the file; tell whether it holds what is in force. Never raises for what the disk does.

        With `text` from before it may run in a thread beside changes.
        """
        try:
            atomic.write(self._path, self.text() if text is None else text)
        except OSError as error:
            self.problem = f"intents are in force but not on the disk: {error.strerror}"
            return False
        self.problem = None
        return True

    def all(self) -> list[Intent]:
        """Every intent, `ready` ones too, in a fixed order."""
        return [self._intents[key] for key in sorted(self._intents)]

    def of(self, key: Key) -> Intent | None:
        """The intent for a member."""
        return self._intents.get(key)

    def state_of(self, key: Key) -> IntentState:
        """What is wanted of a member; `ready` when nobody ever said otherwise."""
        intent = self._intents.get(key)
        return intent.state if intent else IntentState.READY

    def digest(self) -> str:
        """The same text on two nodes means the same intents."""
        if self._digest is None:
            self._digest = hashlib.sha256(json.dumps([rank(i) for i in self.all()]).encode()).hexdigest()
        return self._digest

    def next_counter(self) -> int:
        """Above everything that this node has ever heard of."""
        return max((intent.counter for intent in self._intents.values()), default=0) + 1

    def make(
        self,
        key: Key,
        state: IntentState,
        *,
        reason: str,
        person: str,
        until: datetime | None = None,
        counter: int | None = None,
    ) -> Intent:
        """A new intent of this node; not yet in force."""
        return Intent(
            service=key[0], member=key[1], state=state, reason=reason, person=person, at=self._clock.now(), until=until,
            counter=self.next_counter() if counter is None else counter, node=self._node,
        )  # fmt: skip

    def merge(self, intents: Iterable[Intent]) -> list[tuple[Intent | None, Intent]]:
        """Let the later one win, member by member; returns (before, after) of what changed. The caller saves."""
        changed = []
        for intent in intents:
            old = self._intents.get(key_of(intent))
            if self._accept(intent):
                changed.append((old, intent))
        return changed

    def _accept(self, intent: Intent) -> bool:
        key = key_of(intent)
        old = self._intents.get(key)
        if old is not None and rank(intent) <= rank(old):
            return False
        if intent.counter > FURTHEST or (old is None and len(self._intents) >= MOST):
            return False
        self._intents[key] = intent
        self._digest = None
        if intent.until is not None and intent.state is not IntentState.READY:
            left = (intent.until - self._clock.now()).total_seconds()
            self._deadlines[key] = (intent, self._clock.steady() + left)
        else:
            self._deadlines.pop(key, None)
        return True

    def adopt(self, drained: Iterable[tuple[Key, IntentState]]) -> list[Intent]:
        """After the record was lost: what HAProxy still drains stays drained. Counter 0, so any true intent wins."""
        adopted = [
            self.make(key, state, reason="found so in HAProxy; the record was lost", person="rotad", counter=0)
            for key, state in drained
            if key not in self._intents
        ]
        self.merge(adopted)
        self.begun_anew = False
        return adopted

    def expired(self, *, grace: float = 3.0) -> list[Intent]:
        """New `ready` intents for those whose time is over.

        Both clocks must say so: a clock that jumps forward must not send work to a server that is being patched. The node
        that made the intent ends it; the other one waits `grace` seconds, so that there is one event and not two.
        """
        now, steady = self._clock.now(), self._clock.steady()
        over = []
        for key, (intent, deadline) in self._deadlines.items():
            wait = 0.0 if intent.node == self._node else grace
            assert intent.until is not None  # noqa: S101 (only such have a deadline)
            if steady >= deadline + wait and (now - intent.until).total_seconds() >= wait:
                reason = f"the time given for {intent.state} is over"
                over.append(self.make(key, IntentState.READY, reason=reason, person="rotad"))
        return over
