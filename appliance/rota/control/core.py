"""rotad of one node: what it knows, and the acts that change it. Implements `rota.control.controller.Controller`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from rota.control import acts, netlink, status, verdicts
from rota.control.board import Board
from rota.control.bridge import Bridge
from rota.control.clock import Clock
from rota.control.config import Config
from rota.control.controller import Refused
from rota.control.failover import Failover
from rota.control.follow import Follower
from rota.control.intents import IntentStore, key_of
from rota.control.ipvs import Layer4
from rota.control.journal import SLICE, Journal
from rota.control.pair import PairWatch
from rota.control.peers import Peers
from rota.control.runtime import ProcessInfo, Runtime, RuntimeFailed, ServerStat, Snapshot
from rota.control.sessions import OldProcesses, Session, sessions
from rota.control.state import (
    Alarm,
    Association,
    AuditRequest,
    Certificate,
    Event,
    FailoverRequest,
    Intent,
    IntentRequest,
    IntentState,
    Status,
    Verdict,
    Window,
    WindowRequest,
)
from rota.control.statefile import StateFile
from rota.control.verdicts import Key, Verdicts, is_of
from rota.control.windows import Windows
from rota.model import Service, Site, dump

log = logging.getLogger("rota.core")

BACKLOG = 2000  # events that a slow subscriber may be behind
NEWS = 60.0  # seconds: an event that arrives later than this after it happened is history
MOST_CUT = 500  # cut senders told one by one


def hash_of(site: Site) -> str:
    """The same text on two nodes means the same model."""
    return hashlib.sha256(json.dumps(dump(site), sort_keys=True).encode()).hexdigest()[:16]


class Core:
    """One node's rotad without its sockets and signals."""

    def __init__(
        self,
        config: Config,
        site: Site,
        *,
        version: str,
        clock: Clock | None = None,
        addresses: Callable[[], set[str]] = netlink.addresses,
    ) -> None:
        """`addresses` lists what is on this node's interfaces; raises AddressesUnknown."""
        self.config, self.node, self.version = config, config.node, version
        self.clock = clock or Clock()
        self.site, self.model_hash = site, hash_of(site)
        self.journal = Journal(
            config.state_directory / "journal.db", self.node, self.clock,
            days=config.journal_days, mebibytes=config.journal_mebibytes,
        )  # fmt: skip
        self._reading = ThreadPoolExecutor(1, "rota-journal")
        self._subscribers: set[asyncio.Queue[Event | None]] = set()
        self.board = Board(self.clock, self._alarm)
        self.intents = IntentStore(config.state_directory / "intents.json", self.node, self.clock)
        self.runtime = Runtime(config.haproxy_socket)
        self.old = OldProcesses(Runtime(config.haproxy_master, master=True))
        self.statefile = StateFile(config.haproxy_state, config.state_directory / "server-state")
        self.bridge = Bridge(config.track_directory, self.clock, self._brake)
        self.verdicts, self.pair = Verdicts(), PairWatch(self.clock)
        self.deep: dict[Key, tuple[Verdict, str]] = {}
        self.layer4 = Layer4(self.clock.steady)
        self.snapshot: Snapshot | None = None
        self.snapshot_at = float("-inf")
        self.stats: dict[tuple[str, str], ServerStat] = {}
        self.haproxy: ProcessInfo | None = None
        self.certificates: list[Certificate] = []  # that HAProxy shows
        self.haproxy_problem: str | None = "not asked yet"
        self.watched_at = float("-inf")  # when somebody last asked for a status
        self.list_addresses = addresses
        self.held: dict[str, int] | None = None
        self.acting = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.follower, self.peers, self.moves, self.windows = Follower(self), Peers(self), Failover(self), Windows(self)

    # --- the model

    def set_site(self, site: Site) -> None:
        """Take another model."""
        self.site, self.model_hash = site, hash_of(site)
        self.bridge.forget(set(self.services()))
        self.follower.stale = True
        self.follower.anew = True
        self.board.keep_only("member-down:", {f"member-down:{s}/{m}" for s, m in self.members()})
        self.board.keep_only("service-down:", {f"service-down:{s}" for s in self.services()})
        self.peers.sync()

    def services(self) -> dict[str, Service]:
        """The services of this node."""
        return self.site.services_of(self.node)

    def members(self) -> list[Key]:
        """Every member of every service of this node."""
        return list(verdicts.members(self.site, self.node))

    def wanted(self) -> dict[Key, IntentState]:
        """What HAProxy has to hold for each member."""
        return {key: self.intents.state_of(key) for key in self.members()}

    # --- the journal

    def record(self, kind: str, **fields: Any) -> Event:
        """A new event: into the journal, and to whoever listens."""
        fields = {name: value for name, value in fields.items() if value is not None}
        event = self.journal.record(kind=kind, **fields)
        self.publish([event])
        return event

    def take_events(self, rows: list[list[Any]]) -> None:
        """Events from a peer; those of long ago go into the journal only, they are no news."""
        now = self.clock.now()
        self.publish(event for event in self.journal.take(rows) if abs((now - event.at).total_seconds()) < NEWS)

    def publish(self, events: Iterable[Event]) -> None:
        """Give events to the subscribers; one that is too far behind is let go."""
        for event in events:
            for queue in list(self._subscribers):
                try:
                    queue.put_nowait(event)
                except asyncio.QueueFull:
                    self._subscribers.discard(queue)
                    queue.get_nowait()
                    queue.put_nowait(None)

    def subscribe(self) -> AsyncIterator[Event]:
        """Every event from now on; ends when the reader falls too far behind."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(BACKLOG)
        self._subscribers.add(queue)
        return self._stream(queue)

    async def _stream(self, queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._subscribers.discard(queue)

    async def events(
        self, since: datetime | None, until: datetime | None, service: str | None, limit: int, general: bool = False
    ) -> list[Event]:
        """The journal by time; the newest `limit` when more match."""
        read = self.journal.reader(since, until, service, limit, general)
        try:
            # one reader, not the threads that intents are saved in: many who ask for much wait for each other only
            return await asyncio.get_running_loop().run_in_executor(self._reading, read)
        except sqlite3.Error:
            return self.journal.query(since, until, service, limit, general)

    def record_intent(self, before: Intent | None, intent: Intent) -> None:
        """Tell of an intent of this node."""
        self.record(
            "intent", service=intent.service, member=intent.member, before=before.state if before else IntentState.READY,
            after=intent.state, reason=intent.reason, person=intent.person,
        )  # fmt: skip

    def record_cut(self, cut: list[tuple[Key, Session]], why: str) -> None:
        """Tell of senders that were cut, one by one."""
        for key, session in cut[:MOST_CUT]:
            service = self.site.services.get(key[0])
            feed = service is not None and service.profile.is_hl7
            reason = f"{why}: HL7 feed: may hold one unacknowledged message" if feed else why
            sender = f"{session.calling_ae or '-'} {session.caller}"
            self.record("failover", service=key[0], member=key[1], before=sender, after="cut", reason=reason)

    def _alarm(self, alarm: Alarm, raised: bool) -> None:
        log.log(logging.WARNING if raised else logging.INFO, "alarm=%s %s", alarm.key, alarm.text if raised else "is over")
        self.record("alarm", member=alarm.key, after="raised" if raised else "cleared", reason=alarm.text[:500])

    def _brake(self, service: str, on: bool, why: str) -> None:
        self.record("brake", service=service, after="held" if on else "released", reason=why)
        text = f"layer 4 of {service} keeps its last state: {why}; look at the network between the nodes and the members"
        self.board.hold(f"brake:{service}", on, "critical", text)

    # --- what is known

    def status(self) -> Status:
        """Everything at this moment."""
        self.watched_at = self.clock.steady()
        return status.assemble(self)

    def statistics_pace(self) -> float:
        """Seconds between two looks at HAProxy's statistics: quicker while somebody watches."""
        return 1.0 if self.clock.steady() - self.watched_at < 30 else self.config.pace.statistics

    def reason_of(self, key: Key) -> str:
        """Why a member has its verdict."""
        return status.reason_of(self, key)

    def any_braked(self) -> bool:
        """Whether a brake has to be looked at again without news from HAProxy."""
        return any(self.bridge.braked(name) for name in self.services())

    def bridge_verdict(self, key: Key) -> Verdict:
        """For layer 4, a member that cannot do its work is down."""
        verdict = self.verdicts.of(key).verdict
        return Verdict.DOWN if verdict is Verdict.CANNOT_STORE else verdict

    def judge_alarms(self) -> None:
        """Raise and clear what follows from the verdicts."""
        for name, service in self.services().items():
            verdicts = {m: self.verdicts.of((name, m)).verdict for m in service.members}
            bad = {m for m, v in verdicts.items() if v in (Verdict.DOWN, Verdict.CANNOT_STORE)}
            for member in service.members:
                text = f"{member} of {name} is {verdicts[member]}: {self.reason_of((name, member))}" if member in bad else ""
                self.board.hold(f"member-down:{name}/{member}", member in bad, "warning", text)
            none = not any(self.follower.serving((name, m)) for m in service.members)
            self.board.hold(f"service-down:{name}", none, "critical", f"no member of {name} serves")

    async def associations(self, service: str | None) -> list[Association]:
        """Connections through this node and through every peer that answers."""
        if service is not None and service not in self.site.services:
            raise Refused("unknown-service", f"there is no service {service}", 404)
        own, others = await asyncio.gather(self.own_associations(service), self.peers.associations(service))
        return [*own, *others]

    async def own_associations(self, service: str | None) -> list[Association]:
        """Connections through this node; none when its HAProxy does not answer."""
        try:
            found = [*await sessions(self.runtime), *await self.old.sessions()]
        except RuntimeFailed:
            return []
        names = [service] if service else list(self.services())
        return [
            Association(
                service=name, member=s.server, caller=s.caller, calling_ae=s.calling_ae, called_ae=s.called_ae, age_s=s.age,
                bytes_in=s.bytes_in, bytes_out=s.bytes_out, node=self.node,
            )
            for s in found
            for name in names
            if is_of(s.backend, name)
        ]  # fmt: skip

    # --- acts

    async def intend(self, request: IntentRequest, person: str) -> list[Intent]:
        """Record and apply an intent on both nodes.

        Of two nodes that hear each other one decides, so that two operators at once cannot drain the last two members.
        """
        done = await self.peers.let_leader_intend(request, person)
        return done if done is not None else await self.intend_here(request, person)

    async def intend_here(self, request: IntentRequest, person: str) -> list[Intent]:
        """Decide, record and apply on this node, and tell the peers."""
        async with self.acting:
            keys = acts.targets(self, request)
            if not request.force and request.state is not IntentState.READY:
                acts.guard_last(self, keys)
            counter = self.intents.next_counter()
            until = request.until if request.state is not IntentState.READY else None
            made = [
                self.intents.make(key, request.state, reason=request.reason, person=person, until=until, counter=counter)
                for key in keys
            ]
            await self.put_in_force(made)
        return made

    def planned(self) -> list[Window]:
        """Every maintenance window that is kept."""
        return self.windows.store.all()

    async def plan(self, request: WindowRequest, person: str) -> Window:
        """Plan a maintenance window, on both nodes."""
        return await self.windows.plan(request, person)

    async def call_off(self, window: str, reason: str, person: str) -> Window:
        """Call a planned one off."""
        return await self.windows.call_off(window, reason, person)

    async def put_in_force(self, made: list[Intent]) -> None:
        """Intents of this node: record, apply, keep, replicate."""
        for before, intent in self.intents.merge(made):
            self.record_intent(before, intent)
        await asyncio.gather(self.apply(), self.persist(), self.peers.tell(within=1.0))
        await self.save_journal()

    async def save_journal(self) -> str | None:
        """Write what waits, and wait for the disk beside the event loop; returns why that may not have been enough."""
        while not self.journal.flush(most=SLICE):
            if self.journal.problem:
                return self.journal.problem
            await asyncio.sleep(0)
        return await asyncio.to_thread(self.journal.sync)

    def receive(self, intents: list[Intent]) -> bool:
        """Intents from a peer; applied by the caller. Tells whether any was new."""
        changed = self.intents.merge(intents)
        if changed:
            self.persist_soon()
            self.follower.stale = True
        return bool(changed)

    async def apply(self) -> None:
        """Bring HAProxy and layer 4 to the intents now; the follower does it later if HAProxy does not answer."""
        self.follower.stale = True
        await self.follower.poll()

    async def persist(self) -> None:
        """Write the intents; a full disk is an alarm, not a reason to leave a member undrained."""
        async with self._saving:
            await asyncio.to_thread(self.intents.save, self.intents.text())
        problem = self.intents.problem
        self.board.hold("intents-unsaved", problem is not None, "critical", problem or "")

    def persist_soon(self) -> None:
        """The same without waiting."""
        self.spawn(self.persist())

    def spawn(self, work: Any) -> None:
        """Run a coroutine beside; its failure is logged."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a task failed", exc_info=error)

    async def failover(self, request: FailoverRequest, person: str) -> list[str]:
        """Hand groups to the peer; the active node does it, wherever the request arrives."""
        return await self.moves.request(request, person)

    def audit(self, request: AuditRequest, person: str) -> Event:
        """Note what somebody did elsewhere."""
        return acts.audit(self, request, person)

    def expire(self) -> list[Intent]:
        """Intents whose time is over, as new ones; put them in force."""
        known = set(self.members())
        return [intent for intent in self.intents.expired() if key_of(intent) in known]
