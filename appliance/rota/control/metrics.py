"""Prometheus metrics of this node, out of the same status that everybody else sees.

`unknown` is never shown as up: `rota_member_up` is 1 only for a verdict of `up`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from rota.control.state import IntentState, PairState, Role, Status, Verdict

if TYPE_CHECKING:
    from rota.control.config import Config
    from rota.control.core import Core

HOST, PORT = "127.0.0.1", 8410
_SERVICE_VERDICTS = ("up", "degraded", "down", "unknown")


def families(status: Status, events: Counter[str]) -> Iterator[Metric]:
    """Every metric of one status; `events` counts the journal's events by kind since rotad's start."""
    yield InfoMetricFamily(
        "rota", "What runs here.", {"node": status.node, "version": status.version, "model": status.model_hash}
    )
    yield GaugeMetricFamily("rota_haproxy_up", "Whether HAProxy answers rotad.", float(status.haproxy_problem is None))
    yield from _services(status)
    yield from _members(status)
    yield from _pair(status)
    alarms = GaugeMetricFamily("rota_alarms", "Alarms in force.", labels=["severity"])
    for severity in ("critical", "warning"):
        alarms.add_metric([severity], sum(a.severity == severity for a in status.alarms))
    yield alarms
    counted = CounterMetricFamily("rota_events", "Events since rotad's start.", labels=["kind"])
    for kind, count in sorted(events.items()):
        counted.add_metric([kind], count)
    yield counted


def _one_of(family: GaugeMetricFamily, labels: list[str], words: Iterable[str], current: str) -> None:
    for word in words:
        family.add_metric([*labels, str(word)], float(word == current))


def _words(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]


def _services(status: Status) -> Iterator[Metric]:
    verdict = GaugeMetricFamily("rota_service_verdict", "1 for the verdict in force.", labels=["service", "verdict"])
    braked = GaugeMetricFamily("rota_service_braked", "Whether layer 4 holds its last state.", labels=["service"])
    for service in status.services:
        _one_of(verdict, [service.name], _SERVICE_VERDICTS, service.verdict)
        braked.add_metric([service.name], float(service.braked))
    yield from (verdict, braked)


def _members(status: Status) -> Iterator[Metric]:
    names = ["service", "member"]
    up = GaugeMetricFamily("rota_member_up", "1 when its checks say up; 0 also when nothing is known.", labels=names)
    verdict = GaugeMetricFamily("rota_member_verdict", "1 for the verdict in force.", labels=[*names, "verdict"])
    since = GaugeMetricFamily("rota_member_verdict_since_timestamp_seconds", "When its verdict last changed.", labels=names)
    used = GaugeMetricFamily("rota_member_in_use", "Whether it gets new work.", labels=names)
    open_ = GaugeMetricFamily("rota_member_associations", "Connections open now, through both nodes.", labels=names)
    limit = GaugeMetricFamily("rota_member_association_limit", "Connections that it may have at once.", labels=names)
    weight = GaugeMetricFamily("rota_ipvs_weight", "Layer 4, as the kernel has it; absent when it is out.", labels=names)
    conns = GaugeMetricFamily("rota_ipvs_connections", "Layer 4, as this node's kernel counts.", labels=[*names, "state"])
    intent = GaugeMetricFamily("rota_member_intent", "1 for what the operators want.", labels=[*names, "intent"])
    for service in status.services:
        for member in service.members:
            label = [service.name, member.name]
            up.add_metric(label, float(member.verdict is Verdict.UP))
            _one_of(verdict, label, _words(Verdict), member.verdict)
            if member.since is not None:
                since.add_metric(label, member.since.timestamp())
            used.add_metric(label, float(member.in_use))
            if member.ipvs is not None:
                if member.ipvs.weight is not None:
                    weight.add_metric(label, member.ipvs.weight)
                conns.add_metric([*label, "active"], member.ipvs.active)
                conns.add_metric([*label, "inactive"], member.ipvs.inactive)
            open_.add_metric(label, member.associations)
            if member.limit is not None:
                limit.add_metric(label, member.limit)
            _one_of(intent, label, _words(IntentState), member.intent.state if member.intent else IntentState.READY)
    yield from (up, verdict, since, used, open_, limit, weight, conns, intent)


def _pair(status: Status) -> Iterator[Metric]:
    role = GaugeMetricFamily("rota_group_role", "1 for this node's role in a VRRP group.", labels=["group", "role"])
    state = GaugeMetricFamily("rota_group_state", "1 for how a VRRP group stands.", labels=["group", "state"])
    for group in status.groups:
        _one_of(role, [group.name], _words(Role), group.role)
        _one_of(state, [group.name], _words(PairState), group.state)
    reachable = GaugeMetricFamily("rota_peer_reachable", "Whether its rotad answers.", labels=["peer"])
    heartbeat = GaugeMetricFamily("rota_peer_heartbeat", "Whether it answers on the second path.", labels=["peer"])
    step = GaugeMetricFamily("rota_peer_in_step", "Same version, model and intents.", labels=["peer"])
    for peer in status.peers:
        reachable.add_metric([peer.node], float(peer.reachable))
        heartbeat.add_metric([peer.node], float(peer.heartbeat))
        step.add_metric([peer.node], float(peer.in_step))
    yield from (role, state, reachable, heartbeat, step)


class _Collector(Collector):
    def __init__(self, status: Callable[[], Status], events: Counter[str]) -> None:
        self._status, self._events = status, events

    def describe(self) -> list[Metric]:
        """Nothing: or the registry would ask for a status to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        return families(self._status(), self._events)


def exposition(status: Callable[[], Status], events: Counter[str]) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status, events))
    return generate_latest(registry)


class Metrics:
    """The page `/metrics`. Settings are table [metrics] of rotad.toml: listen, port. Without it there is no page."""

    def __init__(self, core: Core, settings: dict[str, Any] | None) -> None:
        self._core = core
        self._settings = settings
        self._events: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._runner is not None  # noqa: S101 (started)
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen, if there is a table. OSError when the port is taken."""
        if self._settings is None:
            return
        app = web.Application()
        app.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, port = str(self._settings.get("listen", HOST)), int(self._settings.get("port", PORT))
        await web.TCPSite(self._runner, host, port).start()
        self._task = asyncio.create_task(self._count())

    async def _page(self, _request: web.Request) -> web.Response:
        text = exposition(self._core.status, self._events)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _count(self) -> None:
        while True:
            # a stream ends when its reader fell too far behind: begin another
            async for event in self._core.subscribe():
                self._events[event.kind] += 1

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._runner is not None:
            await self._runner.cleanup()


async def start(core: Core, config: Config) -> Metrics:
    """Begin; close what is returned to end it."""
    part = Metrics(core, config.raw.get("metrics"))
    await part.start()
    return part
