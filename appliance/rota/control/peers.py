"""The peers of a node: exchanges that bring both sides to the same intents and events, and what each side sees."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rota.control.exchange import MAX_EVENTS, Answer, Errand, Exchange, FailoverErrand, Hello, PeerView
from rota.control.peer import PeerClient, PeerFailed, PeerServer, certificate_ends, client_context
from rota.control.state import Association, Intent, IntentRequest, Window
from rota.preflight.findings import Row

if TYPE_CHECKING:
    from rota.control.core import Core

log = logging.getLogger("rota.peers")

HEARTBEAT = 2.0  # seconds between two looks over the second path
ROLLOUT = 120.0  # a rollout changes one node after the other: that much difference is no alarm
RETRY_FILES = 30.0
WARN_CERTIFICATE = timedelta(days=30)


class Peers:
    """All peers of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.views: dict[str, PeerView] = {}
        self._clients: dict[str, PeerClient] = {}
        self._loops: dict[str, list[asyncio.Task[None]]] = {}
        self._kicks: dict[str, asyncio.Event] = {}
        self._context: ssl.SSLContext | None = None
        self._server: PeerServer | None = None
        self._started = False
        self._listener: asyncio.Task[None] | None = None
        self.ends: datetime | None = None  # of our own certificate

    # --- life

    async def start(self) -> None:
        """Listen, and begin to ask; what cannot be used is an alarm and is tried again."""
        self._started = True
        self._listener = asyncio.create_task(self._keep_listening())
        self.sync()

    async def close(self) -> None:
        """End every connection."""
        self._started = False
        tasks = [*(task for loops in self._loops.values() for task in loops)]
        tasks += [self._listener] if self._listener else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.close()
        if self._server:
            await self._server.close()

    async def _preflight(self, service: str | None) -> list[Row]:
        from rota.preflight.look import look  # the checks: needed when somebody asks

        core = self._core
        return await look(core.site, core.node, service, Path("/etc/haproxy/certs"))

    async def _keep_listening(self) -> None:
        core = self._core
        while True:
            if core.site.peers_of(core.node):
                try:
                    if self._server is None:
                        server = PeerServer(
                            self._names, self._on_exchange, self._on_errand, self._on_failover,
                            core.own_associations,
                        )  # fmt: skip
                        server.preflight = self._preflight
                        server.known = self._addresses
                        await server.start(core.config.peer)
                        self._server = server
                    self._server.renew(core.config.peer)
                    self._certificate()
                    core.board.clear("peer-listener")
                except (OSError, ValueError) as error:
                    text = f"no answer to peers: {getattr(error, 'strerror', None) or error}"
                    core.board.raise_("peer-listener", "critical", text)
            await asyncio.sleep(RETRY_FILES)

    def _addresses(self) -> list[str]:
        """Every address from which a peer may come."""
        nodes = self._core.site.site.nodes
        return [a for name in self._names() if name in nodes for a in (*nodes[name].addresses, self.address_of(name)[0])]

    def _names(self) -> list[str]:
        return self._core.site.peers_of(self._core.node)

    def _certificate(self) -> None:
        core = self._core
        self.ends = certificate_ends(core.config.peer)
        left = self.ends - core.clock.now()
        severity = "critical" if left < timedelta(days=3) else "warning"
        text = f"the certificate of {core.node} for its peers has {max(left.days, 0)} days left"
        core.board.hold("peer-certificate", left < WARN_CERTIFICATE, severity, text)  # type: ignore[arg-type]

    def sync(self) -> None:
        """Follow the model: new peers are asked, former ones forgotten."""
        if not self._started:
            return
        core = self._core
        wanted = core.site.peers_of(core.node)
        for name in self.views.keys() - set(wanted):
            for task in self._loops.pop(name):
                task.cancel()
            if client := self._clients.pop(name, None):
                core.spawn(client.close())
            del self.views[name], self._kicks[name]
            for alarm in ("unreachable", "version", "model"):
                core.board.clear(f"peer-{alarm}:{name}")
        for name in wanted:
            if name not in self.views:
                self.views[name] = PeerView(name, core.clock)
                self._kicks[name] = asyncio.Event()
                self._loops[name] = [asyncio.create_task(self._exchanges(name)), asyncio.create_task(self._heartbeats(name))]

    def address_of(self, name: str) -> tuple[str, int]:
        """Where a peer listens."""
        config = self._core.config.peer
        return config.addresses.get(name, (self._core.site.site.nodes[name].addresses[0], config.port))

    # --- asking

    def _client(self, name: str) -> PeerClient:
        if name not in self._clients:
            try:
                self._context = self._context or client_context(self._core.config.peer)
            except (OSError, ValueError) as error:
                raise PeerFailed(
                    f"our own certificate cannot be used: {getattr(error, 'strerror', None) or error}"
                ) from None
            self._clients[name] = PeerClient(name, self.address_of(name), self._context)
        return self._clients[name]

    async def _exchanges(self, name: str) -> None:
        kick = self._kicks[name]
        while True:
            kick.clear()
            await self.exchange(name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(kick.wait(), self._core.config.pace.exchange)

    async def exchange(self, name: str) -> bool:
        """Exchange with a peer until both say the same; tells whether they do. Never raises for what the peer does."""
        core, view = self._core, self.views[name]
        try:
            for _ in range(20):
                client = self._client(name)
                answer = await client.exchange(self._message(name))
                if answer.hello.node != name:
                    raise PeerFailed(f"{name} answers as {answer.hello.node}")
                view.heard(answer.hello)
                if core.receive(answer.intents):
                    await core.apply()
                core.windows.receive(answer.windows)
                core.take_events(answer.events)
                if self._agree(answer.hello) and len(answer.events) < MAX_EVENTS:
                    break
            if view.reached():
                core.record("peer", member=name, before="unreachable", after="reachable")
            core.board.clear(f"peer-unreachable:{name}")
            self._compare(view)
            return True
        except Exception as error:
            if not isinstance(error, PeerFailed):
                log.exception("an exchange with %s failed", name)
            self._failed(view, str(error))
            return False

    def _failed(self, view: PeerView, problem: str) -> None:
        core = self._core
        if self.ends is not None and self.ends <= core.clock.now():
            # TLS 1.3 tells the one who shows it nothing but the end of the connection
            problem = f"{view.node}: our own certificate has expired ({problem})"
        if view.failed(problem):
            core.record("peer", member=view.node, before="reachable", after="unreachable", reason=problem[:200])
        # begin anew the next time, with the files as they are then: a renewed certificate needs no restart
        self._context = None
        if client := self._clients.pop(view.node, None):
            core.spawn(client.close())
        if not view.reachable:
            seen = "; its node answers" if view.heartbeat else "; nor does its node"
            core.board.hold(
                f"peer-unreachable:{view.node}", True, "critical", f"rotad of {view.node} does not answer: {problem}{seen}",
                after=3.0,
            )  # fmt: skip

    def _compare(self, view: PeerView) -> None:
        core = self._core
        assert view.hello is not None  # noqa: S101 (just heard)
        for what, differs, text in (
            (
                "version",
                view.hello.version != core.version,
                f"{view.node} runs version {view.hello.version}, this node {core.version}",
            ),
            (
                "model",
                view.hello.model_hash != core.model_hash,
                f"{view.node} has another site model: roll out to both nodes",
            ),
        ):
            core.board.hold(f"peer-{what}:{view.node}", differs, "warning", text, after=ROLLOUT)

    async def _heartbeats(self, name: str) -> None:
        """The second path: the peer's HAProxy, or at least its kernel, on its own address."""
        view = self.views[name]
        while True:
            host, port = self.address_of(name)[0], self._core.config.peer.heartbeat_port
            try:
                async with asyncio.timeout(1.0):
                    _, writer = await asyncio.open_connection(host, port)
                writer.close()
                view.heartbeat = True
            except ConnectionRefusedError:
                view.heartbeat = True  # a kernel that refuses is alive
            except (OSError, TimeoutError):
                view.heartbeat = False
            await asyncio.sleep(HEARTBEAT)

    def kick(self) -> None:
        """Something changed: exchange now."""
        for event in self._kicks.values():
            event.set()

    async def tell(self, *, within: float) -> None:
        """Exchange now with every peer that is there, and wait for it, but not longer than `within` seconds."""
        there = [name for name, view in self.views.items() if view.reachable]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.gather(*(self.exchange(name) for name in there))

    async def associations(self, service: str | None) -> list[Association]:
        """The connections through the peers that answer."""
        there = [name for name, view in self.views.items() if view.reachable]
        found = await asyncio.gather(*(self._client(name).associations(service) for name in there), return_exceptions=True)
        return [association for part in found if not isinstance(part, BaseException) for association in part]

    async def let_leader_intend(self, request: IntentRequest, person: str) -> list[Intent] | None:
        """Let the first node of the site that is there decide; None when that is this node, or nobody else can."""
        core = self._core
        for name in core.site.site.nodes:
            if name == core.node:
                return None
            view = self.views.get(name)
            if view is None or not view.reachable or view.differences(core.version, core.model_hash):
                continue
            try:
                done = await self._client(name).errand(Errand(request=request, person=person))
            except PeerFailed as problem:
                log.warning("%s cannot decide: %s", name, problem)
                continue
            if core.receive(done):
                await core.apply()
            return done
        return None

    async def ask_failover(self, name: str, errand: FailoverErrand) -> list[str]:
        """Let a peer hand groups over; raises Refused and PeerFailed."""
        return await self._client(name).failover(errand)

    # --- answering

    def _hello(self, peer: Hello | None) -> Hello:
        """How this node stands, for a peer that said `peer` last."""
        core = self._core
        known = peer is not None and peer.version == core.version
        services = core.services()
        counts = {"/".join(key): count for key, count in core.layer4.active().items()}
        for (backend, member), stat in core.stats.items():
            service = backend.removesuffix(".v6")
            if stat.sessions and service in services and member in services[service].members:
                counts[f"{service}/{member}"] = counts.get(f"{service}/{member}", 0) + stat.sessions
        return Hello(
            node=core.node, version=core.version, model_hash=core.model_hash, digest=core.intents.digest(),
            windows=core.windows.store.digest() if known else "", held=core.held, unfit=core.moves.unfit(),
            down=core.moves.down(), sessions=counts,
        )  # fmt: skip

    def _message(self, name: str) -> Exchange:
        core, hello = self._core, self.views[name].hello
        same = hello is not None and hello.digest == core.intents.digest()
        return Exchange(
            hello=self._hello(hello), intents=[] if same else core.intents.all(), windows=self._windows_for(hello),
            vector=core.journal.vector(),
        )  # fmt: skip

    def _windows_for(self, hello: Hello | None) -> list[Window]:
        """The windows that a peer lacks, or may lack. One of another version might not know them: a rollout ends that."""
        store, version = self._core.windows.store, self._core.version
        return store.all() if hello is not None and hello.version == version and hello.windows != store.digest() else []

    def _agree(self, hello: Hello) -> bool:
        """Whether a peer has the same intents and windows."""
        core = self._core
        windows = hello.version != core.version or hello.windows == core.windows.store.digest()
        return windows and hello.digest == core.intents.digest()

    async def _on_exchange(self, name: str, message: Exchange) -> Answer:
        core = self._core
        view = self.views.get(name)
        if view is not None:
            view.heard(message.hello)
        if core.receive(message.intents):
            await core.apply()
        core.windows.receive(message.windows)
        same = message.hello.digest == core.intents.digest()
        return Answer(
            hello=self._hello(message.hello),
            intents=[] if same else core.intents.all(),
            windows=self._windows_for(message.hello),
            events=core.journal.after(message.vector, MAX_EVENTS),
        )

    async def _on_errand(self, name: str, errand: Errand) -> list[Intent]:
        return await self._core.intend_here(errand.request, errand.person)

    async def _on_failover(self, name: str, errand: FailoverErrand) -> list[str]:
        return await self._core.moves.hand_over(errand.request, errand.person)
