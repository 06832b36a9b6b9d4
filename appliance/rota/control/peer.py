"""Node to node over mutual TLS 1.3: a server, and a client for each peer.

Both certificates come from the site's own CA and name the node. Nobody else gets past the handshake; who does and is no
peer of this node gets 403. Every step has a deadline: a peer that is half open costs one of them and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

import aiohttp
from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from rota.control.config import PeerConfig
from rota.control.controller import Refused
from rota.control.exchange import Answer, Errand, Exchange, FailoverErrand
from rota.control.gate import Gate
from rota.control.state import Association, Intent, Problem
from rota.preflight.findings import Row

log = logging.getLogger("rota.peer")

MAX_BODY = 8 * 1024 * 1024
DEADLINE = 2.0
BODY_DEADLINE = 5.0
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
_INTENTS = TypeAdapter(list[Intent])
_ASSOCIATIONS = TypeAdapter(list[Association])
_ROWS = TypeAdapter(list[Row])
_NAMES = TypeAdapter(list[str])
_JSON = {"Content-Type": "application/json"}


class PeerFailed(Exception):
    """The peer did not answer as a peer does; the text is for people."""


def server_context(config: PeerConfig) -> ssl.SSLContext:
    """TLS for the listening side; raises OSError (ssl.SSLError too) for unusable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, config)


def client_context(config: PeerConfig) -> ssl.SSLContext:
    """TLS for the asking side; the peer must show a certificate with its node's name."""
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), config)


def _loaded(context: ssl.SSLContext, config: PeerConfig) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(config.certificate, config.key)
    context.load_verify_locations(config.ca)
    return context


def certificate_ends(config: PeerConfig) -> datetime:
    """When this node's own certificate ends; raises OSError or ValueError for an unusable file."""
    return _ends(config.certificate.read_text(encoding="ascii"))


@lru_cache(2)
def _ends(pem: str) -> datetime:
    # `cryptography` reads it as well, and would stay in memory with ten megabytes for this one date
    from pyasn1.codec.der import decoder
    from pyasn1.error import PyAsn1Error
    from pyasn1_modules import rfc5280

    own, end, _ = pem.partition(ssl.PEM_FOOTER)  # what follows is the chain
    try:
        certificate, _ = decoder.decode(ssl.PEM_cert_to_DER_cert(own + end), asn1Spec=rfc5280.Certificate())
        found: datetime = certificate["tbsCertificate"]["validity"]["notAfter"].getComponent().asDateTime
    except PyAsn1Error as error:
        raise ValueError(f"the certificate cannot be read ({type(error).__name__})") from None
    return found


class PeerServer:
    """Answers peers. The handlers get the peer's name; they may raise Refused, and ValueError for bad content."""

    def __init__(
        self,
        peers: Callable[[], Collection[str]],
        exchange: Callable[[str, Exchange], Awaitable[Answer]],
        errand: Callable[[str, Errand], Awaitable[list[Intent]]],
        failover: Callable[[str, FailoverErrand], Awaitable[list[str]]],
        associations: Callable[[str | None], Awaitable[list[Association]]],
    ) -> None:
        self._peers = peers
        self._exchange, self._errand, self._failover, self._associations = exchange, errand, failover, associations
        self.preflight: Callable[[str | None], Awaitable[list[Row]]] | None = None
        self._runner: web.AppRunner | None = None
        self.known: Callable[[], Collection[str]] = tuple  # addresses of peers: they have places of their own
        self._gate: Gate | None = None
        self._context: ssl.SSLContext | None = None

    async def start(self, config: PeerConfig) -> None:
        """Listen; raises OSError when that is not possible."""
        self._context = context = server_context(config)
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        app.router.add_post("/peer/v1/exchange", self._on_exchange)
        app.router.add_post("/peer/v1/intents", self._on_errand)
        app.router.add_post("/peer/v1/failover", self._on_failover)
        app.router.add_get("/peer/v1/associations", self._on_associations)
        app.router.add_get("/peer/v1/preflight", self._on_preflight)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=30)
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 (setup made it)
        gate = Gate(lambda: self.known())
        gate.start(config.listen, config.port, self._runner.server, context)
        self._gate = gate

    def renew(self, config: PeerConfig) -> None:
        """Show the certificate that is on the disk now to whoever comes next; raises OSError when it is unusable."""
        if self._context is not None:
            self._context.load_cert_chain(config.certificate, config.key)

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._gate:
            await self._gate.close()
        if self._runner:
            await self._runner.cleanup()
        self._gate = self._runner = None

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            request["peer"] = self._name(request)
            return await handler(request)
        except Refused as refused:
            return _problem(refused.status, refused.code, refused.title)
        except (ValidationError, ValueError, TimeoutError) as error:
            return _problem(400, "bad-request", f"not a message of a peer: {type(error).__name__}")
        except web.HTTPException as error:
            return _problem(error.status, "bad-request", error.reason)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("a peer's %s %s failed", request.method, request.path)
            return _problem(500, "internal", "rotad met a fault of its own; its log has more")

    def _name(self, request: web.Request) -> str:
        certificate = request.get_extra_info("peercert") or {}
        names = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
        known = names & set(self._peers())
        if len(known) != 1:
            raise Refused("forbidden", f"{', '.join(sorted(names)) or 'nobody'} is no peer of this node", 403)
        return str(known.pop())

    async def _body(self, request: web.Request, model: type[M]) -> M:
        async with asyncio.timeout(BODY_DEADLINE):
            return model.model_validate_json(await request.read())

    async def _on_exchange(self, request: web.Request) -> web.Response:
        message = await self._body(request, Exchange)
        if message.hello.node != request["peer"]:
            raise Refused("forbidden", f"{request['peer']} speaks as {message.hello.node}", 403)
        answer = await self._exchange(request["peer"], message)
        return web.Response(text=answer.model_dump_json(exclude_defaults=True), content_type="application/json")

    async def _on_errand(self, request: web.Request) -> web.Response:
        done = await self._errand(request["peer"], await self._body(request, Errand))
        return web.Response(body=_INTENTS.dump_json(done), content_type="application/json")

    async def _on_failover(self, request: web.Request) -> web.Response:
        done = await self._failover(request["peer"], await self._body(request, FailoverErrand))
        return web.Response(body=_NAMES.dump_json(done), content_type="application/json")

    async def _on_associations(self, request: web.Request) -> web.Response:
        found = await self._associations(request.query.get("service"))
        return web.Response(body=_ASSOCIATIONS.dump_json(found), content_type="application/json")

    async def _on_preflight(self, request: web.Request) -> web.Response:
        if self.preflight is None:
            raise Refused("unavailable", "this node cannot look at its members now", 503)
        found = await self.preflight(request.query.get("service"))
        return web.Response(body=_ROWS.dump_json(found), content_type="application/json")


def _problem(status: int, code: str, title: str) -> web.Response:
    body = Problem(status=status, code=code, title=title).model_dump_json()
    return web.Response(status=status, text=body, content_type="application/problem+json")


class PeerClient:
    """Asks one peer. Not reached is PeerFailed, a refusal is Refused."""

    def __init__(self, node: str, address: tuple[str, int], context: ssl.SSLContext, *, deadline: float = DEADLINE) -> None:
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.node = node
        self._base = f"https://{host}:{address[1]}/peer/v1"
        self._context = context
        self._deadline = deadline
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, message: Exchange) -> Answer:
        """One exchange."""
        return await self._ask(
            "POST", "exchange", message.model_dump_json(exclude_defaults=True), Answer.model_validate_json
        )

    async def errand(self, errand: Errand) -> list[Intent]:
        """Let the peer do an act."""
        return await self._ask("POST", "intents", errand.model_dump_json(), _INTENTS.validate_json)

    async def failover(self, errand: FailoverErrand) -> list[str]:
        """Let the peer, who is active, hand groups over."""
        return await self._ask("POST", "failover", errand.model_dump_json(), _NAMES.validate_json, deadline=30.0)

    async def associations(self, service: str | None) -> list[Association]:
        """The peer's own connections."""
        query = f"?service={service}" if service else ""
        return await self._ask("GET", f"associations{query}", None, _ASSOCIATIONS.validate_json)

    async def preflight(self, service: str | None, *, deadline: float) -> list[Row]:
        """What the peer finds on its way to the members."""
        query = f"?service={service}" if service else ""
        return await self._ask("GET", f"preflight{query}", None, _ROWS.validate_json, deadline=deadline)

    async def _ask(
        self, method: str, path: str, body: str | None, read: Callable[[bytes], T], deadline: float | None = None
    ) -> T:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=8, keepalive_timeout=20)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        seconds = deadline or self._deadline
        try:
            async with self._session.request(
                method, f"{self._base}/{path}", data=body, headers=_JSON, ssl=self._context, server_hostname=self.node,
                allow_redirects=False, timeout=aiohttp.ClientTimeout(total=seconds),
            ) as answer:  # fmt: skip
                raw = await _bounded(answer)
                if answer.status != 200:
                    problem = Problem.model_validate_json(raw)
                    raise Refused(problem.code, problem.title, problem.status)
                return read(raw)
        except TimeoutError:
            raise PeerFailed(f"{self.node} does not answer within {seconds:g} s") from None
        except ValidationError:
            raise PeerFailed(f"{self.node} answers, but not as a rotad of this version does") from None
        except (aiohttp.ClientError, OSError) as error:
            raise PeerFailed(f"{self.node}: {_plain(error)}") from None

    async def close(self) -> None:
        """End the connection."""
        if self._session:
            with contextlib.suppress(Exception):
                await self._session.close()
            self._session = None


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return b"".join(parts)


def _plain(error: BaseException) -> str:
    """An error of the network or of TLS in one line; certificates are what people will have to look at."""
    text = str(error)
    lower = text.lower()
    if "certificate has expired" in lower or "certificate_expired" in lower or "certificate expired" in lower:
        return "a certificate has expired"
    if "not yet valid" in lower:
        return "a certificate is not yet valid: look at the clocks"
    if "certificate" in lower or "unknown_ca" in lower or "tlsv1" in lower or "sslv3" in lower:
        return f"the certificates do not fit: {text.splitlines()[0][:120]}" if text else "the certificates do not fit"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "no connection"
    return text.splitlines()[0][:120] if text else type(error).__name__
