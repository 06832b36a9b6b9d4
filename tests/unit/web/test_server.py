"""rota-web as a process: gunicorn with TLS and threads, and the command on the console."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from lib.poll import wait_until
from peers.pki import Authority
from peers.tcp import free_port
from rota.control.written import toml
from rota.model import parse
from rota.web import cli, written
from rota.web.config import load
from typer.testing import CliRunner, Result
from unit.web.conftest import Rotad
from unit.web.conftest import settings as whole

# With a short patience: whoever is slow is cut after two seconds instead of ninety.
HURRIED = "import rota.web.worker as w; w.REQUEST_SECONDS = 2.0; from rota.web.cli import main; main()"


class Server:
    """One rota-web process."""

    def __init__(self, folder: Path, rotad: Rotad, authority: Authority) -> None:
        self.authority, self.folder, self.port = authority, folder, free_port()
        issued = authority.issue("localhost")
        self.crt, self.key = folder / "web.crt", folder / "web.key"
        self.crt.write_bytes(issued.cert.read_bytes())
        self.key.write_bytes(issued.key.read_bytes())
        settings = whole(folder) | {
            "rotad_socket": str(rotad.path.resolve()), "listen": ["127.0.0.1"], "port": self.port, "hosts": ["localhost"],
            "certificate": str(self.crt), "key": str(self.key), "live": {"streams": 2},
        }  # fmt: skip
        self.config = folder / "web.toml"
        self.config.write_text(toml(settings))
        self.log = folder / "web.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", HURRIED, "serve", "--config", str(self.config)], stdout=log, stderr=log
            )
        wait_until(self._answers, within=30, what=f"rota-web answers; see {self.log}")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/healthz").status_code == 200
        except requests.ConnectionError:
            return False

    def get(self, path: str) -> requests.Response:
        return requests.get(f"https://localhost:{self.port}{path}", verify=str(self.authority.cert), timeout=10)

    def tls(self, **options: ssl.TLSVersion) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.authority.cert))
        for name, value in options.items():
            setattr(context, name, value)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="localhost")

    def serial(self) -> str:
        with self.tls() as link:
            found = link.getpeercert()
        assert found
        return str(found["serialNumber"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("w")
    rotad = Rotad(Path(os.path.relpath(folder)) / "rotad.sock")
    one = Server(folder, rotad, Authority(folder / "ca"))
    yield one
    one.process.terminate()
    assert one.process.wait(15) == 0, one.log.read_text()
    rotad.close()


def test_it_answers_over_tls_and_asks_rotad(server: Server) -> None:
    assert server.get("/readyz").text == "ok\n"
    assert server.get("/sign-in").headers["Content-Type"] == "text/html; charset=utf-8"
    assert "gunicorn/" not in str(server.get("/sign-in").headers)


def test_plain_http_gets_nothing(server: Server) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://localhost:{server.port}/healthz", timeout=10)
    assert server.get("/healthz").status_code == 200


@pytest.mark.filterwarnings("ignore:ssl.:DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "ok"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)]
)
def test_old_tls_is_refused(server: Server, version: ssl.TLSVersion, ok: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(server.authority.cert)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", server.port), 10) as link:
        if ok:
            with context.wrap_socket(link, server_hostname="localhost") as found:
                assert found.cipher()[0].startswith(("TLS_", "ECDHE-"))
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(link, server_hostname="localhost")


def half_a_handshake(server: Server) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", server.port), 20)
    link.sendall(b"\x16\x03\x01\x02\x00\x01")
    return link


def half_a_request(server: Server) -> socket.socket:
    link = server.tls()
    link.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
    return link


def half_a_form(server: Server) -> socket.socket:
    link = server.tls()
    link.sendall(
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 900\r\n\r\nname="
    )
    return link


@pytest.mark.parametrize("begin", [half_a_handshake, half_a_request, half_a_form])
def test_slow_senders_are_cut_and_hold_nobody_up(server: Server, begin: Callable[[Server], socket.socket]) -> None:
    """More of them than there are threads: gunicorn alone would answer nobody any more."""
    links = [begin(server) for _ in range(25)]
    try:
        wait_until(lambda: server.get("/healthz").status_code == 200, within=20)
        links[0].settimeout(20)
        try:
            while links[0].recv(4096):
                pass
        except (ssl.SSLError, ConnectionError):
            pass
    finally:
        for link in links:
            link.close()


def test_a_new_certificate_is_taken_without_a_restart(server: Server) -> None:
    before, pid = server.serial(), server.process.pid
    issued = server.authority.issue("localhost", days=80)
    server.key.write_bytes(issued.key.read_bytes())
    server.crt.write_bytes(issued.cert.read_bytes())
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: server.serial() != before, within=20)
    assert server.process.poll() is None
    assert server.process.pid == pid


# --- the command


@pytest.fixture
def console(tmp_path: Path, rotad: Rotad) -> Callable[..., Result]:
    """`console("user", "list")` is what the command came to."""
    path = tmp_path / "web.toml"
    path.write_text(toml(whole(tmp_path)))
    (tmp_path / "web").mkdir()

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli.app, [*words, "--config", str(path)])

    return run


def test_people_on_the_console(console: Callable[..., Result], rotad: Rotad) -> None:
    once = console("user", "first", "anna")
    assert (once.exit_code, len(once.stdout.strip())) == (0, 23), once.output
    assert console("user", "first", "ben").stdout == ""
    assert console("user", "list").stdout == "anna\tadministrator\tlocal\tone-time password\n"
    assert console("user", "add", "ben", "--role", "viewer").exit_code == 0
    assert console("user", "reset", "anna").stdout != once.stdout
    assert console("user", "remove", "ben").exit_code == 0
    assert [(e.before, e.reason) for e in rotad.double.journal] == [
        ("person-added", "from console: anna as administrator"),
        ("person-added", "from console: ben as viewer"),
        ("password", "from console: one-time password for anna"),
        ("person-removed", "from console: ben"),
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "anna", "--role", "viewer"), "there is somebody named anna already"),
        (("add", "eve", "--role", "boss"), "'boss' is no role: viewer, operator, administrator"),
        (("add", "<x>", "--role", "viewer"), "a name has up to 48 letters, digits, dots, dashes, @ or +"),
        (("reset", "nobody"), "there is no local person named nobody"),
        (("remove", "nobody"), "there is nobody named nobody"),
        (("remove", "anna"), "nobody would be left to manage people"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(console: Callable[..., Result], words: tuple[str, ...], says: str) -> None:
    console("user", "first", "anna")
    done = console("user", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"rota-web: {says}\n")


def test_settings_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "web.toml"
    bad.write_text(toml(whole(tmp_path)).replace("wallboard = false", ""))
    for words in (["check"], ["serve"], ["user", "list"]):
        done = CliRunner().invoke(cli.app, [*words, "--config", str(bad)])
        assert (done.exit_code, done.stderr) == (1, f"rota-web: {bad}: wallboard is missing\n")
    bad.write_text(toml(whole(tmp_path)))
    assert CliRunner().invoke(cli.app, ["check", "--config", str(bad)]).exit_code == 0


# --- what role rota_web writes

SITE = {
    "site": {
        "name": "test",
        "nodes": {"lb1": {"addresses": ["203.0.113.11", "2001:db8::11"]}, "lb2": {"address": "203.0.113.12"}},
        "networks": {"lan": {"prefixes": ["203.0.113.0/24", "2001:db8::/64"], "interface": "eth0"}},
    },
    "services": {},
}


def test_what_the_role_writes_is_what_the_app_reads(tmp_path: Path) -> None:
    site = parse(SITE).site
    assert site
    path = tmp_path / "web.toml"
    path.write_text(
        written.text(site, "lb1", {"hosts": ["rota.example"], "session": {"idle_minutes": 15}, "wallboard": True})
    )
    found = load(path)
    assert found.listen == ("203.0.113.11", "2001:db8::11")
    assert found.hosts == ("lb1", "203.0.113.11", "2001:db8::11", "rota.example")
    assert (found.port, found.wallboard, found.idle.total_seconds(), found.absolute.total_seconds()) == (
        8443,
        True,
        900,
        43200,
    )
    assert tomllib.loads(path.read_text())["session"] == {"idle_minutes": 15, "absolute_hours": 12}
    assert written.names(site, ["rota.example"])["lb2-web"] == ["lb2", "203.0.113.12", "rota.example"]
