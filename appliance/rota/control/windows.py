"""Maintenance windows: a drain or halt that begins and ends by itself, planned by a person who then may sleep.

A register beside the intents, for the last word on a member has to hold until the window begins: a last-writer-wins map by
the window's id, merged as `rota.control.intents` merges. What a window does when its time comes is an ordinary intent with
an end, asked for in the planner's name and under the same guard rails, and it is the intent that ends by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from rota.control import acts, atomic
from rota.control.clock import Clock
from rota.control.controller import Refused
from rota.control.intents import FURTHEST
from rota.control.state import Intent, IntentRequest, IntentState, Window, WindowPhase, WindowRequest
from rota.control.verdicts import Key

if TYPE_CHECKING:
    from rota.control.core import Core

log = logging.getLogger("rota.windows")

_LIST = TypeAdapter(list[Window])
MOST = 200  # windows still to come
KEPT = 100  # windows that have been: the newest, whatever the clock says, so that both nodes keep the same ones
AHEAD = timedelta(days=366)
GRACE = 3.0  # seconds: the node that wrote a window acts on it; another one does so when that one does not
PATIENCE = 15.0  # seconds after the start for which a peer is waited for: it may know that a window is over, or called off
LATE = 60.0  # seconds after which a begin is told as late
SAID_FOR = timedelta(hours=12)  # how long a window that did not begin is an alarm, at least
PLANNED, RUNNING = WindowPhase.PLANNED, WindowPhase.RUNNING


def rank(window: Window) -> tuple[int, str, str]:
    """What decides between two words on one window; the text comes last, as with intents."""
    return (window.counter, window.node, window.model_dump_json())


def time_of(window: Window) -> str:
    """`2026-11-30 02:00 to 04:00 UTC`."""
    end = f"{window.until:%H:%M}" if window.until.date() == window.starts.date() else f"{window.until:%Y-%m-%d %H:%M}"
    return f"{window.starts:%Y-%m-%d %H:%M} to {end} UTC"


class WindowStore:
    """The windows of one node, kept at `path`."""

    def __init__(self, path: Path, node: str, clock: Clock) -> None:
        self._path, self._node, self._clock = path, node, clock
        self._windows: dict[str, Window] = {}
        self._times: dict[str, tuple[float, float]] = {}  # its begin and end on the steady clock
        self.damage: str | None = None
        self.problem: str | None = None  # why the file does not hold what is planned
        self._load()

    def _load(self) -> None:
        try:
            self.merge(_LIST.validate_json(self._path.read_bytes()))
        except FileNotFoundError:
            pass
        except OSError as error:
            self.damage = f"the windows cannot be read: {error.strerror}"
        except ValidationError as error:
            try:
                aside = atomic.set_aside(self._path, self._clock.now().strftime("%Y%m%dT%H%M%SZ")).name
            except OSError as second:
                aside = f"nothing ({second.strerror})"
            self.damage = f"the windows were damaged ({error.error_count()} errors); set aside as {aside}"

    def text(self) -> str:
        """What the file has to hold."""
        return _LIST.dump_json(self.all(), indent=1).decode() + "\n"

    def save(self, text: str) -> bool:
        """Write the file; tell whether it holds what is planned. Never raises for what the disk does; fit for a thread."""
        try:
            atomic.write(self._path, text)
        except OSError as error:
            self.problem = f"maintenance windows are planned but not on the disk: {error.strerror}"
            return False
        self.problem = None
        return True

    def all(self) -> list[Window]:
        """Every window that is kept, by its begin."""
        return sorted(self._windows.values(), key=lambda w: (w.starts, w.id))

    def live(self) -> list[Window]:
        """Those that are planned or running."""
        return [window for window in self.all() if window.live]

    def of(self, name: str) -> Window | None:
        """A window by its id."""
        return self._windows.get(name)

    def digest(self) -> str:
        """The same text on two nodes means the same windows; empty: there are none."""
        ranks = json.dumps([rank(window) for window in self.all()])
        return hashlib.sha256(ranks.encode()).hexdigest() if self._windows else ""

    def written(self, window: Window | None = None, **fields: Any) -> Window:
        """A new window of this node, or a new word of this node on `window`; not yet in force."""
        counter = max((w.counter for w in self._windows.values()), default=0) + 1
        fresh = {"at": self._clock.now(), "counter": counter, "node": self._node, **fields}
        if window is not None:
            return window.model_copy(update=fresh)
        return Window(id=secrets.token_hex(3), phase=PLANNED, outcome=None, **fresh)

    def merge(self, windows: Iterable[Window]) -> list[Window]:
        """Let the later word win, window by window; returns what changed. The caller saves."""
        changed = [window for window in windows if self._accept(window)]
        if changed:
            past = sorted((w for w in self._windows.values() if not w.live), key=lambda w: (w.until, w.id))
            for window in past[:-KEPT]:
                del self._windows[window.id]
                self._times.pop(window.id, None)
        return changed

    def _accept(self, window: Window) -> bool:
        old = self._windows.get(window.id)
        if window.counter > FURTHEST or (old is not None and rank(window) <= rank(old)):
            return False
        if old is None and len(self._windows) >= 2 * (MOST + KEPT):  # a peer gone mad must not fill the memory
            return False
        now, steady = self._clock.now(), self._clock.steady()
        self._windows[window.id] = window
        self._times[window.id] = (
            steady + (window.starts - now).total_seconds(),
            steady + (window.until - now).total_seconds(),
        )
        return True

    def due(self, window: Window) -> bool:
        """Whether a planned window has to be begun, and by this node: both clocks must say so, as for the end of a drain."""
        return self._reached(window, window.starts, self._times[window.id][0])

    def ended(self, window: Window) -> bool:
        """The same of its end."""
        return self._reached(window, window.until, self._times[window.id][1])

    def _reached(self, window: Window, moment: datetime, steady: float) -> bool:
        wait = 0.0 if window.node == self._node else GRACE
        return self._clock.steady() >= steady + wait and (self._clock.now() - moment).total_seconds() >= wait


class Windows:
    """The windows of one core: plans them, begins and ends them when it is time, and says what came of it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.store = WindowStore(core.config.state_directory / "windows.json", core.node, core.clock)
        self._began = core.clock.steady()
        self._acting, self._saving = asyncio.Lock(), asyncio.Lock()

    # --- what a person asks

    async def plan(self, request: WindowRequest, person: str) -> Window:
        """Plan a window, on both nodes; raises Refused."""
        async with self._acting:
            return await self._plan(request, person)

    async def _plan(self, request: WindowRequest, person: str) -> Window:
        core = self._core
        now = core.clock.now()
        if request.starts <= now:
            raise Refused("until-past", f"the start has passed: it is {now:%Y-%m-%dT%H:%M:%SZ}", 400)
        if request.until <= request.starts:
            raise Refused("until-past", "the window ends before it starts", 400)
        if request.until - now > AHEAD:
            raise Refused("too-far", "the window ends more than a year ahead", 400)
        if len(self.store.live()) >= MOST:
            raise Refused("too-many", f"{MOST} windows are planned already")
        window = self.store.written(
            member=request.member, service=request.service, state=IntentState(request.state), starts=request.starts,
            until=request.until, reason=request.reason, person=person, force=request.force,
        )  # fmt: skip
        keys = acts.targets(core, _asked(window))
        self._guard_overlap(window, keys)
        await self._put_in_force([window], f"{window.state} {time_of(window)}: {window.reason}", person)
        return window

    def _guard_overlap(self, window: Window, keys: list[Key]) -> None:
        """Refuse what could not be done even if all members served then."""
        near = [w for w in self.store.live() if w.starts < window.until and window.starts < w.until]
        for service, _ in keys:
            out = {w.member: w for w in near if w.service in (None, service)}
            if same := out.get(window.member):
                raise Refused("overlap", f"{window.member} has a window then: {same.id}, {time_of(same)}")
            others = [name for name in self._core.services()[service].members if name != window.member]
            if not window.force and all(name in out for name in others):
                rest = ", ".join(f"{name}, {time_of(out[name])}" for name in others)
                why = f"the others are out then, too: {rest}" if rest else "it has no other member"
                raise Refused(
                    "last-member", f"{window.member} would be the last member of {service}: {why}; --force plans it anyway"
                )

    async def call_off(self, name: str, reason: str, person: str) -> Window:
        """Call a planned window off, on both nodes; raises Refused."""
        async with self._acting:
            return await self._call_off(name, reason, person)

    async def _call_off(self, name: str, reason: str, person: str) -> Window:
        window = self.store.of(name)
        if window is None:
            raise Refused("unknown-window", f"there is no maintenance window {name}"[:200], 404)
        if window.phase is RUNNING:
            raise Refused("window-running", f"the window has begun: bring {window.member} back, and it is over")
        if window.phase is not PLANNED:
            raise Refused("window-over", f"the window is {window.phase.value} already")
        word = self.store.written(window, phase=WindowPhase.CALLED_OFF, outcome=f"called off by {person}: {reason}")
        await self._put_in_force([word], reason, person)
        return word

    # --- what is kept

    async def _put_in_force(self, words: list[Window], reason: str | None, person: str) -> None:
        core = self._core
        for word in words:
            before = self.store.of(word.id)
            if self.store.merge([word]):
                core.record(
                    "window", service=word.service, member=word.member, before=before.phase if before else None,
                    after=word.phase, reason=(reason or word.outcome or "")[:400], person=person,
                )  # fmt: skip
        await asyncio.gather(self._keep(), core.peers.tell(within=1.0))
        await core.save_journal()

    async def _keep(self) -> None:
        """Write the windows; a full disk is an alarm."""
        async with self._saving:
            await asyncio.to_thread(self.store.save, self.store.text())
        self._judge()

    def receive(self, windows: list[Window]) -> None:
        """Words from a peer, who has journalled them."""
        if self.store.merge(windows):
            self._core.spawn(self._keep())

    # --- what time brings

    async def tick(self) -> None:
        """Begin what is due, end what is over. Waits for the peer, but not for long."""
        if self.store.live() and not self._may_be_behind():
            async with self._acting:
                for window in self.store.live():
                    if self.store.of(window.id) is window:  # nobody was quicker, while the one before was acted on
                        await self._look(window)
        if self.store.problem:
            await self._keep()
        self._judge()

    def _may_be_behind(self) -> bool:
        core = self._core
        alone = any(not view.reachable for view in core.peers.views.values())
        return alone and core.clock.steady() - self._began < PATIENCE

    async def _look(self, window: Window) -> None:
        if window.phase is PLANNED and self.store.ended(window):
            await self._turn(window, WindowPhase.SKIPPED, "rotad did not run, or its clock was wrong, when it was time")
        elif window.phase is PLANNED and self.store.due(window):
            await self._begin(window)
        elif window.phase is RUNNING and (why := self._over(window)):
            await self._turn(window, WindowPhase.OVER, why)

    async def _begin(self, window: Window) -> None:
        core = self._core
        try:
            keys = acts.targets(core, _asked(window))
            free = [key for key in keys if core.intents.state_of(key) is IntentState.READY]
            if not free:
                held = core.intents.of(keys[0])
                by = f" by {held.person}: {held.reason}" if held else ""
                raise Refused("already-out", f"{window.member} is out already{by}; the window neither changes nor ends that")
            if not window.force:
                acts.guard_last(core, free)
            for service, _ in free:
                await core.intend(_asked(window, service), window.person)
        except Refused as refused:
            await self._turn(window, WindowPhase.SKIPPED, str(refused).partition("; --force")[0])
            return
        late = (core.clock.now() - window.starts).total_seconds()
        await self._turn(window, RUNNING, f"{late / 60:.0f} min late" if late > LATE else None)

    def _over(self, window: Window) -> str | None:
        """Why a running window is over, or None."""
        if self.store.ended(window):
            return "its time is over"
        if window.node != self._core.node:
            return None  # the node that began it sees at once what becomes of its intents
        now = [self._core.intents.of(key) for key in self._keys(window)]
        if any(intent is not None and _is_of(intent, window) for intent in now):
            return None
        last = max((intent for intent in now if intent), key=lambda i: i.counter, default=None)
        if last is None:
            return f"{window.member} is no longer there"
        if last.person == "rotad":
            return "its time is over"
        return f"{last.state} by {last.person}: {last.reason}"

    def _keys(self, window: Window) -> list[Key]:
        return [key for key in self._core.members() if key[1] == window.member and window.service in (None, key[0])]

    async def _turn(self, window: Window, phase: WindowPhase, outcome: str | None) -> None:
        if self.store.of(window.id) != window:
            return  # the peer was quicker
        log.info("window %s of %s: %s %s", window.id, window.member, phase, outcome or "")
        word = self.store.written(window, phase=phase, outcome=outcome[:400] if outcome else None)
        await self._put_in_force([word], outcome or window.reason, window.person if phase is RUNNING else "rotad")

    def _judge(self) -> None:
        """What a person has to be told: a window that did not begin, and one that the disk does not hold."""
        core = self._core
        now = core.clock.now()
        said = {
            f"window-skipped:{w.id}": f"the window of {w.member} ({w.state}, {time_of(w)}) did not begin: {w.outcome}"
            for w in self.store.all()
            if w.phase is WindowPhase.SKIPPED and now < max(w.until, w.at + SAID_FOR)
        }
        core.board.keep_only("window-skipped:", set(said))
        for key, text in said.items():
            core.board.raise_(key, "warning", text)
        core.board.hold("windows-unsaved", self.store.problem is not None, "critical", self.store.problem or "")


def _asked(window: Window, service: str | None = None) -> IntentRequest:
    """The intent that a window stands for."""
    return IntentRequest(
        member=window.member, service=service or window.service, state=window.state, reason=window.reason,
        until=window.until, force=window.force,
    )  # fmt: skip


def _is_of(intent: Intent, window: Window) -> bool:
    return (intent.state, intent.until, intent.person) == (window.state, window.until, window.person)
