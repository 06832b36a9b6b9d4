"""The API of a node: HTTP and JSON over a UNIX socket, for the command, the web app and the scripts of a site.

Every error is a `Problem` (RFC 9457). The caller's rights come from the kernel (`rota.control.access`). What a caller can
cost rotad is bounded: size of a request, connections per user, time to send a request, events waiting in a stream.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from rota.control.access import PERSON_HEADER, Access, Caller, Right, caller_of, person_of
from rota.control.asked import (
    AuditBody,
    CallOffBody,
    EventsQuery,
    FailoverBody,
    IntentBody,
    ServiceQuery,
    WindowBody,
    bad,
    intent_request,
    read_body,
    read_query,
    utc,
)
from rota.control.connection import Door, Limits, began, problem
from rota.control.controller import Controller, Refused
from rota.control.openapi import Route, document
from rota.control.sse import Streams
from rota.control.state import (
    Alarm,
    Association,
    AuditRequest,
    Event,
    FailoverRequest,
    Intent,
    ServiceState,
    Status,
    Window,
    WindowRequest,
)

MAX_BODY = 16 * 1024  # bytes; an intent with the longest reason has under 1 KiB
DEFAULT_LIMITS = Limits()
_CALLER = web.RequestKey("caller", Caller)
log = logging.getLogger("rota.api")
Identify = Callable[[web.BaseRequest], Caller]


ROUTES = [
    Route("GET", "/v1/status", "status", "Everything at this moment, as this node sees it", Status),
    Route("GET", "/v1/services/{service}", "service", "One service with its members", ServiceState, errors=(404,)),
    Route("GET", "/v1/events", "events", "The journal, oldest first", list[Event], query=EventsQuery),
    Route("GET", "/v1/events/stream", "stream", "Changes as they happen, as server-sent events", None, errors=(503,)),
    Route(
        "GET", "/v1/associations", "associations", "Who is connected now", list[Association],
        query=ServiceQuery, errors=(404,),
    ),
    Route("GET", "/v1/intents", "intents", "The last word of an operator on each member that has one", list[Intent]),
    Route("GET", "/v1/alarms", "alarms", "What a person should look at", list[Alarm]),
    Route(
        "POST", "/v1/intents", "intend", "Drain, halt or bring back a member", list[Intent], body=IntentBody,
        right=Right.ACT, errors=(404, 409),
    ),
    Route("GET", "/v1/windows", "windows", "Maintenance windows: to come, running, and the last of the past", list[Window]),
    Route(
        "POST", "/v1/windows", "plan", "Plan a maintenance window: a drain or halt that begins and ends by itself", Window,
        body=WindowBody, right=Right.ACT, errors=(404, 409),
    ),
    Route(
        "POST", "/v1/windows/{window}/call-off", "call_off", "Call a planned maintenance window off", Window,
        body=CallOffBody, right=Right.ACT, errors=(404, 409),
    ),
    Route(
        "POST", "/v1/failover", "failover", "Hand VRRP groups to the peer", list[str], body=FailoverBody,
        right=Right.ACT, errors=(404, 409),
    ),
    Route(
        "POST", "/v1/audit", "audit", "Note in the journal what a person did elsewhere", Event, body=AuditBody,
        right=Right.ACT,
    ),
    Route("GET", "/v1/openapi.json", "openapi", "This description", dict[str, Any]),
]  # fmt: skip
_ADAPTERS = {route.handler: TypeAdapter(route.answer) for route in ROUTES if route.answer is not None}


def peer_credentials(request: web.BaseRequest) -> Caller:
    """Who sent `request`, by the kernel's word."""
    sock = request.get_extra_info("socket")
    return caller_of(sock)


class Api:
    """The API of one controller. `start` begins to answer, `close` ends every stream and connection."""

    def __init__(
        self,
        controller: Controller,
        access: Access,
        *,
        identify: Identify = peer_credentials,
        limits: Limits = DEFAULT_LIMITS,
        heartbeat: float = 15.0,
    ) -> None:
        """`identify` and the limits are for tests; `heartbeat` is the longest silence of a stream, in seconds."""
        self._controller = controller
        self._access = access
        self._identify = identify
        self._limits = limits
        self._streams = Streams(controller.subscribe, limits.streams, limits.backlog, heartbeat)
        self._document = document(ROUTES)
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._runner: web.AppRunner | None = None
        self._door: Door | None = None

    def application(self) -> web.Application:
        """The aiohttp application, without a socket."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        for route in ROUTES:
            handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = getattr(self, f"_{route.handler}")
            app.router.add_route(route.method, route.path, self._checked(route, handler))
        app.on_shutdown.append(self._end_streams)
        return app

    async def start(self, path: Path) -> None:
        """Listen on `path`. Everybody may connect: rights go by who they are, and a stranger learns what is missing."""
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(path))
        path.chmod(0o666)
        await self.serve(sock)

    async def serve(self, sock: socket.socket) -> None:
        """Listen on a bound socket, which is this object's from now on."""
        self._runner = web.AppRunner(self.application(), access_log=None, keepalive_timeout=self._limits.idle)
        await self._runner.setup()
        if self._runner.server is None:
            raise ValueError("the runner is not set up")
        self._door = Door(self._runner.server, self._limits)
        self._door.open(sock)

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._door:
            await self._door.close()
        if self._runner:
            await self._runner.cleanup()

    async def _end_streams(self, _: web.Application) -> None:
        self._streams.end()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Turn whatever a handler raises into a Problem; a fault of ours costs one request and one log line."""
        began(request)
        try:
            return await handler(request)
        except Refused as refused:
            return problem(refused.status, refused.code, refused.title)
        except web.HTTPException as error:
            allow = error.headers.get("Allow")
            title = {404: "there is no such thing", 405: f"this takes {allow}", 413: f"over {MAX_BODY} bytes"}
            code = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}.get(error.status, "bad-request")
            return problem(error.status, code, title.get(error.status, error.reason), {"Allow": allow} if allow else None)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return problem(500, "internal", "rotad met a fault of its own; its log has more")

    def _checked(
        self, route: Route, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        # Answers from memory and journal are made one after the other for each user: however many questions one of them
        # has at once, everybody else, and the checks, come in between.
        quick = route.right is Right.READ and route.handler not in ("stream", "associations")

        async def checked(request: web.Request) -> web.StreamResponse:
            request[_CALLER] = caller = self._caller(request)
            if self._access.right(caller) < route.right:
                group = "rota-operators" if route.right is Right.ACT else "rota-viewers or rota-operators"
                raise Refused("forbidden", f"{caller.login} is not in group {group}", 403)
            if route.query is None and request.query:
                raise bad(f"no parameter is known here: {next(iter(request.query))!r}")
            if not quick:
                return await handler(request)
            async with self._turns[caller.uid]:
                return await handler(request)

        return checked

    def _caller(self, request: web.Request) -> Caller:
        try:
            return self._identify(request)
        except (OSError, AttributeError):
            raise Refused("forbidden", "the kernel does not say who you are", 403) from None

    async def _status(self, request: web.Request) -> web.Response:
        return _json("status", self._controller.status())

    async def _service(self, request: web.Request) -> web.Response:
        return _json("service", self._known(request.match_info["service"]))

    async def _events(self, request: web.Request) -> web.Response:
        query = read_query(EventsQuery, request.query)
        found = await self._controller.events(utc(query.since), utc(query.until), query.service, query.limit, query.general)
        return _json("events", found)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await self._streams.serve(request)

    async def _associations(self, request: web.Request) -> web.Response:
        service = read_query(ServiceQuery, request.query).service
        if service is not None:
            self._known(service)
        return _json("associations", await self._controller.associations(service))

    async def _intents(self, request: web.Request) -> web.Response:
        members = [member for service in self._controller.status().services for member in service.members]
        return _json("intents", [member.intent for member in members if member.intent])

    async def _alarms(self, request: web.Request) -> web.Response:
        return _json("alarms", self._controller.status().alarms)

    async def _intend(self, request: web.Request) -> web.Response:
        asked = await read_body(IntentBody, request)
        until = utc(asked.until)
        if until is not None and until <= datetime.now(UTC):
            raise Refused("until-past", f"the end, {until:%Y-%m-%dT%H:%M:%SZ}, has passed", 400)
        person = _person(request)
        log.info("%s of %s/%s asked by %s: %s", asked.state, asked.service or "*", asked.member, person, asked.reason)
        return _json("intend", await self._controller.intend(intent_request(asked, until), person))

    async def _windows(self, request: web.Request) -> web.Response:
        return _json("windows", self._controller.planned())

    async def _plan(self, request: web.Request) -> web.Response:
        asked = await read_body(WindowBody, request)
        times = {"starts": utc(asked.starts), "until": utc(asked.until)}
        person = _person(request)
        log.info("window for %s/%s asked by %s: %s", asked.service or "*", asked.member, person, asked.reason)
        return _json("plan", await self._controller.plan(WindowRequest(**asked.model_dump() | times), person))

    async def _call_off(self, request: web.Request) -> web.Response:
        asked = await read_body(CallOffBody, request)
        return _json(
            "call_off", await self._controller.call_off(request.match_info["window"], asked.reason, _person(request))
        )

    async def _audit(self, request: web.Request) -> web.Response:
        asked = await read_body(AuditBody, request)
        return _json("audit", self._controller.audit(AuditRequest(**asked.model_dump()), _person(request)))

    async def _failover(self, request: web.Request) -> web.Response:
        asked = await read_body(FailoverBody, request)
        person = _person(request)
        log.info("failover of %s asked by %s: %s", asked.group or "all groups", person, asked.reason)
        return _json("failover", await self._controller.failover(FailoverRequest(**asked.model_dump()), person))

    async def _openapi(self, request: web.Request) -> web.Response:
        return _json("openapi", self._document)

    def _known(self, name: str) -> ServiceState:
        for service in self._controller.status().services:
            if service.name == name:
                return service
        raise Refused("unknown-service", f"there is no service {name!r} on this node"[:200], 404)


def _json(handler: str, value: Any) -> web.Response:
    return web.Response(body=_ADAPTERS[handler].dump_json(value), content_type="application/json")


def _person(request: web.Request) -> str:
    try:
        return person_of(request[_CALLER], request.headers.get(PERSON_HEADER))
    except ValueError as error:
        raise bad(str(error)) from None
