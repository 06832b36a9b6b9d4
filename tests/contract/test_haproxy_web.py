"""Web services and TLS through the real haproxy: what members see, what callers see, what is logged."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lib import haproxy
from peers import dicom, mllp, web
from peers.pki import Authority, server_context
from peers.tcp import Conversation, TcpPeer, free_port

pytestmark = pytest.mark.contract

HOST = "127.0.0.100"
FAST = {"interval": "1s", "fast_interval": "100ms", "down_interval": "200ms", "timeout": "900ms"}


class Site:
    """A web server that remembers what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heads: list[str] = []

    def __call__(self, talk: Conversation) -> None:
        while True:
            line, headers, _ = web.read_request(talk)
            if "rota-check" not in headers:
                self.heads.append(f"{line}\n{headers}")
            talk.send(web.page(body=self.name.encode()))


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as held:
        yield held


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA, with a certificate for the service in one file with its key."""
    made = Authority(tmp_path / "tls")
    pair = made.issue("service")
    (tmp_path / "tls/service.pem").write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    return made


def start(root: Path, stack: contextlib.ExitStack, services: dict[str, Any], given: Path | None = None) -> haproxy.Haproxy:
    document = haproxy.site(services)
    daemon = stack.enter_context(haproxy.prepared(root, document))
    for needed in haproxy.view_of(document).certificates:
        assert given is not None
        (daemon.folder / needed.name).write_bytes((given / needed.source).read_bytes())
    stack.callback(daemon.stop)
    daemon.start()
    for name, service in services.items():
        for member in service["members"]:
            daemon.wait_for(name, member, "UP")
    return daemon


def service(peers: list[TcpPeer], profile: str = "rest", **more: Any) -> dict[str, Any]:
    members = {name: {"address": "127.0.0.1", "port": peer.port} for name, peer in zip("ab", peers, strict=False)}
    check = {"kind": "http", **FAST} if profile not in ("dicom-tls", "hl7-tls") else {"kind": "tcp", **FAST}
    return {"profile": profile, "address": HOST, "port": free_port(HOST), "members": members, "check": check, **more}


def get(
    port: int, path: str = "/", headers: str = "", context: ssl.SSLContext | None = None, source: str = "127.0.0.1"
) -> str:
    """The whole answer to one request; "" when the connection was closed without one."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection((HOST, port), timeout=5, source_address=(source, 0)))
        if context:
            sock = stack.enter_context(context.wrap_socket(sock, server_hostname="service"))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n{headers}\r\n".encode())
        data = b""
        while True:
            head, _, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            if length and len(body) >= int(length[1]):
                break
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
    return data.decode()


def client(authority: Authority, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.cert))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def test_members_see_who_asks(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """And nobody can claim to be somebody else."""
    site = Site("one")
    asked = service([stack.enter_context(TcpPeer(site))])
    start(daemon_root, stack, {"rest": asked})
    assert get(asked["port"], headers="X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: https\r\n").endswith("one")
    head = site.heads[0].lower()
    assert "x-forwarded-for: 127.0.0.1\n" in head.replace("\r", "")
    assert "x-forwarded-proto: http\n" in head.replace("\r", "")
    assert "192.0.2.66" not in head


def test_the_log_holds_no_query_and_no_identifier(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    site = Site("one")
    asked = service([stack.enter_context(TcpPeer(site))], "dicomweb")
    daemon = start(daemon_root, stack, {"web": asked})
    assert "200 OK" in get(asked["port"], "/dicom-web/studies?PatientName=DOE%5EJANE&PatientID=4711", "Cookie: id=4711\r\n")
    get(asked["port"], "/DOE4711^JANE/x")
    get(asked["port"], "/?DOE")
    line = daemon.log_line("kind=http", "path=dicom-web")
    for part in ("service=web", "client=127.0.0.1 ", "method=GET", "status=200", "member=a"):
        assert part in line, line
    daemon.log_line("kind=http", "path=DOE ")
    assert "dicom-web" in site.heads[0]
    assert "PatientName" in site.heads[0], "the member gets the whole of it"
    for secret in ("JANE", "4711", "PatientName", "studies"):
        assert secret not in daemon.log


def test_a_page_when_no_member_is_left(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    peer = stack.enter_context(TcpPeer(Site("one")))
    asked = service([peer], fallback={"page": "pages/down.html"})
    plain = service([peer])
    daemon = start(daemon_root, stack, {"ours": asked, "plain": plain})
    peer.__exit__(None, None, None)
    for name in ("ours", "plain"):
        daemon.wait_for(name, "a", "DOWN")
    answer = get(asked["port"])
    assert answer.startswith("HTTP/1.1 503")
    assert "<p>ours</p>" in answer
    assert "retry-after: 30" in answer.lower()
    assert "not available at the moment" in get(plain["port"])


def test_a_fallback_server_comes_after_all_members(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    peers = [stack.enter_context(TcpPeer(Site(name))) for name in ("one", "spare", "last")]
    asked = service(peers[:2], fallback={"address": "127.0.0.1", "port": peers[2].port})
    asked["members"]["b"]["backup"] = True
    daemon = start(daemon_root, stack, {"rest": asked})
    assert get(asked["port"]).endswith("one")
    peers[0].__exit__(None, None, None)
    daemon.wait_for("rest", "a", "DOWN")
    assert get(asked["port"]).endswith("spare")
    peers[1].__exit__(None, None, None)
    daemon.wait_for("rest", "b", "DOWN")
    assert get(asked["port"]).endswith("last")


def test_a_cookie_keeps_a_session(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    peers = [stack.enter_context(TcpPeer(Site(name))) for name in ("one", "two")]
    asked = service(peers, persistence={"kind": "cookie", "cookie": "WARD"})
    start(daemon_root, stack, {"rest": asked})
    first = get(asked["port"])
    assert "set-cookie: WARD=" in first.replace("Set-Cookie", "set-cookie")
    cookie = first.split("WARD=")[1].split(";")[0]
    assert {get(asked["port"], headers=f"Cookie: WARD={cookie}\r\n")[-3:] for _ in range(4)} == {first[-3:]}
    assert {get(asked["port"])[-3:] for _ in range(4)} == {"one", "two"}


def test_sources(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    peer = stack.enter_context(TcpPeer(Site("one")))
    allow = {"sources": ["127.0.0.7/32"]}
    asked, passed = service([peer], allow=allow), service([peer], "viewer", allow=allow, tls="none")
    raw = service([peer], "tcp", allow=allow, check={"kind": "tcp", **FAST})
    daemon = start(daemon_root, stack, {"rest": asked, "viewer": passed, "tcp": raw})
    for one in (asked, passed):
        assert get(one["port"]).startswith("HTTP/1.1 403")
        assert get(one["port"], source="127.0.0.7").endswith("one")
    assert get(raw["port"], source="127.0.0.7").endswith("one")
    with contextlib.suppress(ConnectionResetError):
        assert get(raw["port"]) == ""
    daemon.log_line("kind=tcp", "service=tcp", "client=127.0.0.1 ", "verdict=source-refused")


def test_offload(daemon_root: Path, stack: contextlib.ExitStack, authority: Authority, tmp_path: Path) -> None:
    site = Site("one")
    tls = {"mode": "offload", "certificate": "tls/service.pem"}
    asked = service([stack.enter_context(TcpPeer(site))], "viewer", tls=tls)
    strict = service([stack.enter_context(TcpPeer(site))], "viewer", tls={**tls, "minimum": "1.3"})
    daemon = start(daemon_root, stack, {"viewer": asked, "strict": strict}, tmp_path)
    assert get(asked["port"], context=client(authority)).endswith("one")
    assert "x-forwarded-proto: https" in site.heads[0].lower()
    assert "tls=TLSv1.3" in daemon.log_line("kind=http", "service=viewer")
    assert get(asked["port"], context=client(authority, version=ssl.TLSVersion.TLSv1_2)).endswith("one")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        get(strict["port"], context=client(authority, version=ssl.TLSVersion.TLSv1_2))
    daemon.log_line("kind=refused", "service=strict", "client=127.0.0.1")


def test_callers_must_show_a_certificate(
    daemon_root: Path, stack: contextlib.ExitStack, authority: Authority, tmp_path: Path
) -> None:
    tls = {"mode": "offload", "certificate": "tls/service.pem", "client_ca": "tls/ca.pem"}
    asked = service([stack.enter_context(TcpPeer(Site("one")))], "viewer", tls=tls)
    daemon = start(daemon_root, stack, {"viewer": asked}, tmp_path)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        get(asked["port"], context=client(authority))
    daemon.log_line("kind=refused", "service=viewer")
    known = client(authority)
    pair = authority.issue("ward")
    known.load_cert_chain(pair.cert, pair.key)
    assert get(asked["port"], context=known).endswith("one")


def test_re_encrypt_verifies_the_members(
    daemon_root: Path, stack: contextlib.ExitStack, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "others", "Another CA")
    good = stack.enter_context(TcpPeer(Site("one"), tls=server_context(authority.issue("pacs-a"))))
    bad = stack.enter_context(TcpPeer(Site("two"), tls=server_context(stranger.issue("pacs-b"))))
    tls = {"mode": "re-encrypt", "certificate": "tls/service.pem", "member_ca": "tls/ca.pem"}
    asked, named = service([good], "viewer", tls=tls), service([good], "viewer", tls=tls)
    asked["members"]["a"]["tls_name"] = "pacs-a"
    daemon = start(daemon_root, stack, {"viewer": asked}, tmp_path)
    assert get(asked["port"], context=client(authority)).endswith("one")
    daemon.stop()
    wrong = service([bad], "viewer", tls=tls)
    named["members"]["a"]["tls_name"] = "pacs-z"
    document = haproxy.site({"wrong": wrong, "named": named})
    other = stack.enter_context(haproxy.prepared(daemon_root, document))
    for needed in haproxy.view_of(document).certificates:
        (other.folder / needed.name).write_bytes((tmp_path / needed.source).read_bytes())
    stack.callback(other.stop)
    other.start()
    for name in ("wrong", "named"):
        row = other.wait_for(name, "a", "DOWN")
        assert row["check_status"] == "L6RSP"


def request(called: bytes = b"PACS", calling: bytes = b"CT1") -> bytes:
    return b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + called.ljust(16) + calling.ljust(16) + bytes(32)


@pytest.mark.parametrize("mode", ["offload", "re-encrypt"])
def test_dicom_inside_tls_is_read(
    daemon_root: Path, stack: contextlib.ExitStack, authority: Authority, tmp_path: Path, mode: str
) -> None:
    """The titles are read, logged and judged behind TLS as they are without it."""
    scp = dicom.Scp()
    inside = {"tls": server_context(authority.issue("pacs"))} if mode == "re-encrypt" else {}
    peer = stack.enter_context(TcpPeer(scp, **inside))
    tls = {"mode": mode, "certificate": "tls/service.pem"} | ({"member_ca": "tls/ca.pem"} if inside else {})
    asked = service([peer], "dicom-tls", tls=tls, allow={"calling_ae": ["CT1"]}, check={"kind": "dicom", **FAST})
    asked["members"]["a"]["called_ae"] = "PACS"
    daemon = start(daemon_root, stack, {"pacs": asked}, tmp_path)
    for calling, first in ((b"CT1", 2), (b"STRANGER", 3)):
        with (
            socket.create_connection((HOST, asked["port"]), timeout=5) as raw,
            client(authority).wrap_socket(raw, server_hostname="service") as sock,
        ):
            sock.sendall(request(calling=calling))
            assert sock.recv(1)[0] == first
    line = daemon.log_line("kind=dicom", 'calling="STRANGER"', "verdict=calling-ae-refused")
    assert "tls=TLSv1" in line


def test_tls_passes_through_untouched(
    daemon_root: Path, stack: contextlib.ExitStack, authority: Authority, tmp_path: Path
) -> None:
    """The caller talks to the member's own certificate (IHE ATNA: the two secure nodes authenticate each other)."""
    peer = stack.enter_context(TcpPeer(Site("one"), tls=server_context(authority.issue("service"))))
    asked = service([peer], "viewer")
    start(daemon_root, stack, {"viewer": asked})
    assert get(asked["port"], context=client(authority)).endswith("one")


def test_hl7_inside_tls(daemon_root: Path, stack: contextlib.ExitStack, authority: Authority, tmp_path: Path) -> None:
    receiver = mllp.Receiver()
    peer = stack.enter_context(TcpPeer(receiver))
    tls = {"mode": "offload", "certificate": "tls/service.pem"}
    asked = service([peer], "hl7-tls", tls=tls)
    start(daemon_root, stack, {"adt": asked}, tmp_path)
    with (
        socket.create_connection((HOST, asked["port"]), timeout=5) as raw,
        client(authority).wrap_socket(raw, server_hostname="service") as sock,
    ):
        sock.sendall(mllp.START + b"MSH|^~\\&|A|A|B|B|1||ADT^A01|M9|P|2.5\r" + mllp.END)
        assert b"MSA|AA|M9" in sock.recv(4096)
    assert len(receiver.messages) == 1
