"""HTTP and HTTPS: does the web server answer with a status that was expected?"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rota.checks.net import Address, AddressInfo, connect_failure, parse_port, resolve
from rota.checks.probe import Probe, run
from rota.checks.trust import Tls, tls_failure
from rota.checks.verdict import Failure, Reason, Verdict

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

# More of a page than this proves nothing more.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class HttpTarget:
    """A URL, the statuses that count as up (`200-399`, `200,401`), a text to look for, the Host header if not the URL's."""

    url: str
    status: str = "200-399"
    tls: Tls | None = None
    method: str = "GET"
    host: str | None = None
    expect: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        url_address(self.url)
        statuses(self.status)
        check_header("--host", self.host)
        if not re.fullmatch("[A-Z]{1,16}", self.method):
            raise ValueError(f"--method: {self.method!r} is not an HTTP method such as GET")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its body is cut after 1 MiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def url_address(url: str) -> Address:
    """Return host and port of an http or https URL; ValueError with one clear line for anything else."""
    if not url.isprintable() or " " in url:
        raise ValueError(f"{url!r}: not a URL")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        netloc = parts.netloc.rpartition("@")[2]
    except ValueError as exc:
        raise ValueError(f"{url}: not a URL ({exc})") from exc
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{url}: write http://HOST… or https://HOST…")
    if not host:
        raise ValueError(f"{url}: no host")
    _, colon, port = netloc.rpartition(":") if not netloc.endswith("]") else ("", "", "")
    number = parse_port(port, url) if colon else {"http": 80, "https": 443}[parts.scheme]
    return Address.parse(str(Address(host, number)))


def check_header(option: str, value: str | None) -> None:
    """Raise ValueError for a header value that would break the request."""
    if value is not None and (not value.isascii() or not value.isprintable() or not value.strip()):
        raise ValueError(f"{option}: {value!r} cannot be sent")


def statuses(text: str) -> list[range]:
    """Read `200-399,401`; ValueError if it is no list of HTTP statuses."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-5]\d\d)(?:-([1-5]\d\d))?\s*", part, re.ASCII)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"--status: {text!r} is not a list of statuses such as 200-399,401")
        found.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


async def check(target: HttpTarget, *, deadline: float = 3.0) -> Verdict:
    """Get the URL, follow no redirect, and judge the status. `deadline` is in seconds, over all steps.

    Extras: `status`. Nothing of the page is shown.
    """
    import aiohttp  # noqa: F401 - a fifth of a second, kept out of the deadline

    allowed = statuses(target.status)

    async def question(probe: Probe) -> str:
        headers = {"Host": target.host} if target.host else {}
        answer = await exchange(probe, target.method, target.url, tls=target.tls, headers=headers)
        probe.extras["status"] = answer.status
        if not any(answer.status in span for span in allowed):
            raise Failure(Reason.BAD_STATUS, f"HTTP status {answer.status}, expected {target.status}")
        check_expected(answer, target.expect)
        return f"HTTP status {answer.status}"

    return await run(question, deadline)


def check_expected(answer: Answer, expect: str | None) -> None:
    """Raise a `Failure` if the text `expect` is not in the answer."""
    if expect is not None and expect.encode() not in answer.body:
        raise Failure(Reason.BAD_CONTENT, f"HTTP status {answer.status}, but the expected text is not there")


async def exchange(
    probe: Probe,
    method: str,
    url: str,
    *,
    tls: Tls | None = None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request and return the answer; every other outcome is a `Failure`."""
    import aiohttp

    address = url_address(url)
    probe.doing = f"looking up {address.host}"
    found = await resolve(address)
    probe.doing = f"connecting to {address}"
    sockets: list[socket.socket] = []

    def make_socket(info: Any) -> socket.socket:
        sockets.append(socket.socket(info[0], info[1], info[2]))
        return sockets[-1]

    settings = tls or Tls()
    connector = aiohttp.TCPConnector(
        resolver=_fixed(found),
        ssl=settings.context(),
        use_dns_cache=False,
        force_close=True,
        socket_factory=make_socket,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        # a body is looked at as it comes: it must not be compressed
        headers={"User-Agent": "rota-check", "Accept-Encoding": "identity"},
    ) as session:
        try:
            async with session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                server_hostname=settings.server_name,
            ) as response:
                probe.connected, probe.received = True, 1
                probe.doing = "reading the answer"
                content = await _body(response.content)
                return Answer(response.status, dict(response.headers), content)
        except asyncio.CancelledError:
            # The deadline: only the socket knows how far things went.
            for sock in sockets:
                established, received = _progress(sock)
                probe.connected |= established
                probe.received = max(probe.received, received)
            if probe.connected and probe.doing.startswith("connecting"):
                probe.doing = "waiting for the answer"
            raise
        except aiohttp.ClientError as exc:
            raise _failure(exc, address, secure=url.startswith("https:")) from exc
        except ValueError as exc:
            raise Failure(Reason.NOT_HTTP, f"{address}: {type(exc).__name__}") from exc


async def _body(stream: Any) -> bytes:
    data = bytearray()
    while len(data) < _LONGEST and (chunk := await stream.read(_LONGEST - len(data))):
        data += chunk
    return bytes(data)


def _progress(sock: socket.socket) -> tuple[bool, int]:
    """Return whether a TCP connection stands, and how many bytes came (struct tcp_info in linux/tcp.h)."""
    with contextlib.suppress(OSError, struct.error):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        # tcpi_state 2 and 3 are SYN_SENT and SYN_RECV; tcpi_bytes_received is at offset 128.
        return info[0] not in (2, 3, 7), struct.unpack_from("=Q", info, 128)[0]
    return False, 0


def _fixed(found: list[AddressInfo]) -> AbstractResolver:
    """Return a resolver for addresses that are known already: aiohttp's own ones cannot keep a deadline."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Fixed(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=str(info[4][0]),
                    port=port,
                    family=info[0],
                    proto=info[2],
                    flags=socket.AI_NUMERICHOST,
                )
                for info in found
            ]

        async def close(self) -> None:
            pass

    return Fixed()


def _failure(exc: Exception, address: Address, *, secure: bool) -> Failure:
    """Say what an aiohttp error means."""
    import aiohttp

    cause: BaseException | None = exc
    while cause is not None:
        # aiohttp's own errors inherit from SSLError, but lack its fields.
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, aiohttp.ClientError):
            return tls_failure(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, aiohttp.ClientConnectorError):
        failure = connect_failure(exc.os_error, str(address))
        if secure and failure.reason is Reason.CLOSED:
            return Failure(Reason.TLS, "the server ended the connection during the TLS handshake")
        return failure
    if isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return Failure(Reason.CLOSED, "the server ended the connection in place of an answer")
    if isinstance(exc, aiohttp.ClientResponseError):
        return Failure(Reason.NOT_HTTP, "the answer is not HTTP")
    return Failure(Reason.BAD_ANSWER, f"the exchange failed ({type(exc).__name__})")
