"""A pair to click on: real keepalived, HAProxy and rotad in two network namespaces (as in the contract tests), members that
can die, callers that stay connected, and rota-web of each node on a port of this machine's loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from contract.rotad_node import TOP
from contract.test_keepalived import SITE
from contract.test_keepalived_pair import FAST
from contract.test_rotad_failover import Full
from lib.poll import wait_until
from peers.tcp import free_port
from rota.model import dump, parse

PASSWORD = "three random words"  # noqa: S105 (of people who exist in this test)
PEOPLE = ("viewer", "operator", "administrator")
PORTS = {
    "pacs": {"pacs-a": 7101, "pacs-b": 7102, "pacs-c": 7103},
    "ris-feed": {"mirth-a": 7201, "mirth-b": 7202},
    "viewer": {"web-a": 7301, "pacs-b": 7302},
}
FRONTS = {"pacs": 7100, "ris-feed": 7200, "viewer": 7300}
# One port for work, on which it keeps whoever comes, and one (1,000 above) for checks.
MEMBER = """
import socket, sys, threading
port = int(sys.argv[1])
checks = socket.create_server(("127.0.0.1", port + 1000))
def check():
    while True: checks.accept()[0].close()
threading.Thread(target=check, daemon=True).start()
def serve(link):
    with link:
        while link.recv(4096): pass
work = socket.create_server(("127.0.0.1", port))
while True: threading.Thread(target=serve, args=work.accept()[:1], daemon=True).start()
"""
CALLER = """
import socket, sys
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
link.sendall(b"x")
sys.stdin.read()
"""
ADD = """
import sys
from rota.web import config as configuration, create_app
from rota.web.auth import passwords
from rota.web.auth.people import Person, Role
from pathlib import Path
app = create_app(configuration.load(Path(sys.argv[1])))
for name in sys.argv[3:]:
    app.extensions["rota"].store.add(Person(name, Role.of(name)), password=passwords.hashed(sys.argv[2]))
"""


SERVE = "from rota.web.cli import main; main()"


def services() -> dict[str, Any]:
    """The model: its members' addresses are for looking at; HAProxy's are on loopback."""

    def members(service: str) -> dict[str, Any]:
        return {name: {"address": f"198.51.100.{20 + i}"} for i, name in enumerate(PORTS[service])}

    called = {name: {**m, "called_ae": name.upper().replace("-", "_")} for name, m in members("pacs").items()}
    return {
        "pacs": {
            "profile": "dicom", "addresses": ["198.51.100.100", "2001:db8:51::100"], "members": called, "department": "Radiology",
            "description": "Images of all modalities",
        },
        "ris-feed": {"profile": "hl7", "address": "198.51.100.100", "port": 2575, "members": members("ris-feed"), "department": "Integration"},
        "viewer": {
            "profile": "tcp", "address": "198.51.100.100", "port": 8443, "members": members("viewer"), "department": "Radiology",
            "check": {"interval": "5s"},
        },
    }  # fmt: skip


def haproxy() -> str:
    """HAProxy's configuration: checks a second apart, so that a test does not wait."""
    lines = [
        "global", "  stats socket /run/admin.sock level admin", "defaults", "  mode tcp", "  timeout client 1h", "  timeout server 1h",
        "  timeout connect 2s", "frontend health", "  mode http", "  bind 127.0.0.1:8404", "  monitor-uri /healthz",
        "backend rota.associations", "  stick-table type string len 64 size 10k expire 10s store conn_cur",
    ]  # fmt: skip
    for name, members in PORTS.items():
        lines += [
            f"frontend {name}",
            f"  bind 127.0.0.1:{FRONTS[name]}",
            f"  default_backend {name}",
            f"backend {name}",
            "  balance roundrobin",
        ]
        for member, port in members.items():
            backup = " backup" if member == "mirth-b" else ""
            lines.append(
                f"  server {member} 127.0.0.1:{port} check port {port + 1000} inter 500ms fall 1 rise 1 weight 100{backup}"
            )
    return "\n".join(lines) + "\n"


class WebNode(Full):
    """A node with its pages."""

    port: int
    web: subprocess.Popen[bytes] | None = None
    wallboard = True

    def begin(self) -> None:
        """Everything but the pages."""
        result = parse({"site": {**FAST, "description": "A pair to click on"}, "services": services()})
        assert result.site, result.problems
        self.members: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.callers: list[subprocess.Popen[bytes]] = []
        for member in {name for members in PORTS.values() for name in members}:
            self.revive(member)
        self.write("tmp/haproxy.cfg", haproxy())
        self._start(self.inside("chroot", str(self.root), "haproxy", "-db", "-f", "/tmp/haproxy.cfg"))  # noqa: S108
        self.write("run/rota/track/haproxy", "0\n")
        self.configure(services())
        self.start_keepalived()
        run, pair = self.root / "run", self.authority.issue(self.name)
        self.write("run/site.json", json.dumps(dump(result.site)))
        self.write(
            "run/rotad.toml",
            f'node = "{self.name}"\nsite = "{run}/site.json"\nstate_directory = "{run}/state"\nrun_directory = "{run}/rota"\n'
            f'haproxy_socket = "{run}/admin.sock"\nhaproxy_state = "{run}/server-state"\nkeepalived_pid = "{run}/keepalived.pid"\n'
            f'[peer]\nlisten = "{SITE["nodes"][self.name]["addresses"][0]}"\nport = 8407\nca = "{self.authority.cert}"\n'
            f'certificate = "{pair.cert}"\nkey = "{pair.key}"\n[journal]\ndays = 3\nmebibytes = 9\n',
        )
        self.start_rotad()

    # --- what breaks and mends

    def revive(self, member: str) -> None:
        """Have a member serve, in all its services."""
        ports = [port for members in PORTS.values() for name, port in members.items() if name == member]
        self.members[member] = [self._start(self.inside(sys.executable, "-c", MEMBER, str(port))) for port in ports]

    def kill_member(self, member: str) -> None:
        """End a member."""
        for process in self.members[member]:
            process.kill()
            process.wait(5)

    def call(self, service: str) -> subprocess.Popen[bytes]:
        """Somebody connects, and stays."""
        caller = self._start(self.inside(sys.executable, "-c", CALLER, str(FRONTS[service])), stdin=subprocess.PIPE)
        self.callers.append(caller)
        return caller

    def hang_up(self) -> None:
        """All callers of this node leave."""
        for caller in self.callers:
            caller.kill()
            caller.wait(5)
        self.callers.clear()

    # --- the pages

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"https://localhost:{self.port}"

    def only_files(self, *command: str) -> list[str]:
        """A command that sees this node's files, and this machine's network."""
        return ["nsenter", "--mount", f"--target={self.holder.pid}", *command]

    def start_web(self) -> None:
        """Start rota-web, with three people."""
        self.port = free_port()
        run, pair = self.root / "run", self.authority.issue("localhost")
        self.write(
            "run/web.toml",
            f'node = "{self.name}"\nsite = "{run}/site.json"\nrotad_socket = "{run}/rota/rotad.sock"\nstate_directory = "{run}/web"\n'
            f'listen = ["127.0.0.1"]\nport = {self.port}\ncertificate = "{pair.cert}"\nkey = "{pair.key}"\nhosts = ["localhost", "127.0.0.1"]\n'
            f"wallboard = {str(self.wallboard).lower()}\n[session]\nidle_minutes = 30\nabsolute_hours = 12\n[live]\nstreams = 8\n",
        )
        config, environment = f"{run}/web.toml", {**os.environ, "PYTHONPATH": str(TOP / "appliance")}
        subprocess.run(
            self.only_files(sys.executable, "-c", ADD, config, PASSWORD, *PEOPLE), env=environment, check=True, timeout=60
        )
        command = self.only_files(sys.executable, "-c", SERVE, "serve", "--config", config)
        self.web = self._start(command, env=environment)
        wait_until(self._listens, within=20, what=f"the pages of {self.name} are there")

    def _listens(self) -> bool:
        assert self.web is not None
        if self.web.poll() is not None:
            raise RuntimeError(f"rota-web of {self.name} ended")
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def forget_sessions(self) -> None:
        """As if everybody's session had run out."""
        code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('DELETE FROM sessions'); db.commit()"
        self.run("python3", "-c", code, f"{self.root}/run/web/people.db")

    def stop_rotad(self) -> None:
        """As `systemctl stop` does it."""
        assert self.rotad is not None
        self.rotad.send_signal(signal.SIGTERM)
        self.rotad.wait(15)

    def member_state(self, service: str, name: str) -> dict[str, Any]:
        """What rotad says of a member."""
        found = next(s for s in self.get("/v1/status")["services"] if s["name"] == service)
        return dict(next(m for m in found["members"] if m["name"] == name))

    def intent_of(self, service: str, name: str) -> str:
        """What is wanted of a member."""
        intent = self.member_state(service, name)["intent"]
        return intent["state"] if intent else "ready"

    def answers(self) -> bool:
        """Whether rotad does."""
        with suppress(subprocess.CalledProcessError, OSError, ValueError, AssertionError):
            return bool(self.get("/v1/status"))
        return False

    def journal(self, **fields: Any) -> list[dict[str, Any]]:
        """Events that have these fields."""
        return [e for e in self.get("/v1/events") if all(e.get(k) == v for k, v in fields.items())]


def site_folder() -> Path:
    """Where pictures of the pages go."""
    folder = TOP / "build/browser"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
