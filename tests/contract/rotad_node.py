"""A node for rotad's tests: Debian 13's own HAProxy, members that count who came, and rotad as a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.poll import wait_until
from peers.pki import Authority
from peers.tcp import free_port
from rota.control.client import dial

TOP = Path(__file__).resolve().parents[2]


class Member:
    """A server with one port for work and one for checks, so that a check is never taken for a caller."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work = socket.create_server(("127.0.0.1", 0))
        self.port = self.work.getsockname()[1]
        self.check_port = free_port()
        self.check: socket.socket | None = None
        self.callers = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()
        self.up()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.work.accept()
                self.callers += 1
                self._open.append(connection)
                with suppress(OSError):
                    connection.sendall(self.name.encode())

    def up(self) -> None:
        if self.check is None:
            self.check = socket.create_server(("127.0.0.1", self.check_port), reuse_port=False)
            threading.Thread(target=self._answer_checks, args=(self.check,), daemon=True).start()

    @staticmethod
    def _answer_checks(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()

    def down(self) -> None:
        if self.check is not None:
            self.check.shutdown(socket.SHUT_RDWR)
            self.check.close()
            self.check = None

    def close(self) -> None:
        self.down()
        self.work.close()
        for connection in self._open:
            connection.close()


@dataclass
class Haproxy:
    """HAProxy in the Debian 13 root, with one service of some members."""

    root: Path
    folder: Path  # inside the root
    services: dict[str, list[Member]]
    sticky: bool = True
    interval: str = "200ms"
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    extra: str = ""
    level: str = "admin"
    master: bool = False
    retired: list[subprocess.Popen[bytes]] = field(default_factory=list)
    links: list[socket.socket] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    @property
    def state(self) -> Path:
        return self.folder / "server-state"

    def config(self) -> str:
        inside = self._inside
        lines = [
            "global",
            f"  stats socket {inside}/admin.sock mode 600 level {self.level} expose-fd listeners",
            f"  server-state-file {inside}/server-state",
            f"  hard-stop-after {'1h' if self.master else '1s'}",
            "defaults",
            "  mode tcp",
            "  timeout connect 2s",
            "  timeout client 1h",
            "  timeout server 1h",
            "  load-server-state-from-file global",
            "backend rota.associations",
            "  stick-table type string len 64 size 10k expire 10s store conn_cur",
        ]
        for service, members in self.services.items():
            port = self.ports.setdefault(service, free_port())
            lines += [f"frontend {service}", f"  bind 127.0.0.1:{port}", self.extra, f"  default_backend {service}"]
            lines += [f"backend {service}"]
            if self.sticky:
                lines += ["  stick-table type ip size 10k expire 30m", "  stick on src"]
            for m in members:
                lines.append(
                    f"  server {m.name} 127.0.0.1:{m.port} check port {m.check_port} inter {self.interval} fall 2 rise 1 weight 100"
                )
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        (self.folder / "haproxy.cfg").write_text(self.config())
        self.socket.unlink(missing_ok=True)
        self.process = self._launch()
        wait_until(self.answers, within=30, what="HAProxy answers")

    @property
    def _inside(self) -> str:
        """The folder as HAProxy sees it."""
        return "/" + str(self.folder.relative_to(self.root))

    def _launch(self, *words: str) -> subprocess.Popen[bytes]:
        if self.master:  # as the unit does: it reloads on SIGUSR2, and answers for old processes
            words = (*words, "-W", "-S", f"{self._inside}/master.sock")
        command = ["chroot", str(self.root), "haproxy", "-db", "-f", f"{self._inside}/haproxy.cfg", *words]
        with (self.folder / "haproxy.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd="/")

    def reload(self) -> None:
        """Start a new process, which takes the sockets over and lets the old one finish its work."""
        assert self.process is not None
        if self.master:
            before = self.ask("show info")
            self.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: self.answers() and pid_in(self.ask("show info")) != pid_in(before), within=5, what="reload")
            return
        old = self.process
        self.process = self._launch("-x", f"{self._inside}/admin.sock", "-sf", str(old.pid))
        self.retired.append(old)
        wait_until(
            lambda: self.answers() and f"Pid: {self.process.pid}\n" in self.ask("show info"), within=30, what="reload"
        )

    def kill(self) -> None:
        for process in [*self.retired, *([self.process] if self.process else [])]:
            if self.master:  # a killed one would leave its workers behind
                process.terminate()
            else:
                process.kill()
            process.wait(5)
        self.process = None
        self.retired.clear()

    def hang_up(self) -> None:
        for link in self.links:
            link.close()

    def answers(self) -> bool:
        with suppress(OSError):
            return self.ask("show info").startswith("Name: HAProxy")
        return False

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(3)
            link.connect(str(self.socket))
            link.sendall(command.encode() + b"\n")
            parts = []
            while part := link.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def admin(self, service: str, member: str) -> int:
        for line in self.ask("show servers state").splitlines():
            fields = line.split()
            if len(fields) > 6 and (fields[1], fields[3]) == (service, member):
                return int(fields[6])
        raise AssertionError(f"{service}/{member} is not there")

    def call(self, service: str, *, timeout: float = 2.0) -> tuple[str, socket.socket] | None:
        """Call a service; says which member answered. None: nobody did."""
        try:
            link = socket.create_connection(("127.0.0.1", self.ports[service]), timeout=timeout)
        except OSError:
            return None
        self.links.append(link)
        link.settimeout(timeout)
        try:
            name = link.recv(64).decode()
        except OSError:
            name = ""
        if not name:
            link.close()
            return None
        return name, link


def pid_in(info: str) -> str:
    """The process id in an answer to `show info`."""
    return next(line for line in info.splitlines() if line.startswith("Pid: "))


def site(services: dict[str, Any], nodes: tuple[str, ...] = ("lb1", "lb2")) -> dict[str, Any]:
    """A site document whose members need not be where HAProxy's test configuration has them."""
    return {
        "site": {
            "name": "test",
            "nodes": {name: {"address": f"203.0.113.{11 + i}"} for i, name in enumerate(nodes)},
            "networks": {"lan": {"prefix": "203.0.113.0/24", "interface": "eth0"}},
        },
        "services": services,
    }


def service(number: int, members: list[str], **more: Any) -> dict[str, Any]:
    named = {name: {"address": f"203.0.113.{100 + i}", "port": 104} for i, name in enumerate(members)}
    return {"profile": "tcp", "address": f"203.0.113.{200 + number}", "ports": [104], "members": named, **more}


@dataclass
class Rotad:
    """One rotad as a process, with folders of its own."""

    node: str
    folder: Path
    haproxy: Haproxy
    port: int
    peers: dict[str, str]
    document: dict[str, Any]
    authority: Authority
    certificate_days: float = 90
    process: subprocess.Popen[bytes] | None = None

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "site.json").write_text(json.dumps(self.document))
        pair = self.authority.issue(self.node, days=self.certificate_days)
        config = self.folder / "rotad.toml"
        addresses = "".join(f'{name} = "{address}"\n' for name, address in self.peers.items())
        config.write_text(
            f'node = "{self.node}"\nsite = "{self.folder}/site.json"\nstate_directory = "{self.folder}/state"\n'
            f'run_directory = "{self.folder}/run"\nhaproxy_socket = "{self.haproxy.socket}"\n'
            f'haproxy_master = "{self.haproxy.folder}/master.sock"\n'
            f'haproxy_state = "{self.haproxy.state}"\nkeepalived_pid = "{self.folder}/keepalived.pid"\n'
            f'[peer]\nlisten = "127.0.0.1"\nport = {self.port}\nca = "{self.authority.cert}"\n'
            f'certificate = "{pair.cert}"\nkey = "{pair.key}"\nheartbeat_port = {self.port}\n[peer.addresses]\n{addresses}'
            "[journal]\ndays = 30\nmebibytes = 64\n"
        )
        return config

    def command(self) -> list[str]:
        return [sys.executable, "-m", "rota.control.daemon", "--config", str(self.write())]

    def start(self, **environment: str) -> None:
        command = self.command()
        log = (self.folder / "rotad.log").open("ab")
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(TOP / "appliance"), "PYTHONWARNINGS": "default", **environment},
            stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        wait_until(self._started, within=60, what=f"rotad of {self.node} answers; see {self.folder}/rotad.log")

    def _started(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"rotad of {self.node} ended: {self.log()}")
        return (self.folder / "run/rotad.sock").exists() and self.answers()

    def log(self) -> str:
        with suppress(OSError):
            return (self.folder / "rotad.log").read_text()[-3000:]
        return ""

    def answers(self) -> bool:
        with suppress(OSError, ValueError):
            return bool(self.get("/v1/status"))
        return False

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request on rotad's own socket, spoken by hand."""
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: rotad\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        with dial(self.folder / "run/rotad.sock", 30) as link:
            link.sendall(head.encode() + data)
            parts = []
            while part := link.recv(65536):
                parts.append(part)
        top, _, rest = b"".join(parts).partition(b"\r\n\r\n")
        if b"chunked" in top.lower():
            rest = b"".join(chunk for chunk in rest.split(b"\r\n")[1::2])
        return int(top.split()[1]), json.loads(rest) if rest else None

    def get(self, path: str) -> Any:
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return answer

    def intend(self, state: str, member: str, service: str | None = "pacs", **more: Any) -> Any:
        body = {"member": member, "service": service, "state": state, "reason": "test", **more}
        status, answer = self.request("POST", "/v1/intents", body)
        assert status == 200, answer
        return answer

    def member(self, service: str, name: str) -> dict[str, Any]:
        found = next(s for s in self.get("/v1/status")["services"] if s["name"] == service)
        return dict(next(m for m in found["members"] if m["name"] == name))

    def events(self, **fields: Any) -> list[dict[str, Any]]:
        return [e for e in self.get("/v1/events") if all(e.get(k) == v for k, v in fields.items())]

    def alarms(self) -> set[str]:
        return {alarm["key"] for alarm in self.get("/v1/alarms")}

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(5)
            self.process = None

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.process = None
        return code


class Bench:
    """Makes nodes for one test and cleans up after it."""

    def __init__(self, root: Path, tmp: Path, stack: ExitStack) -> None:
        self.root, self.tmp, self.stack = root.resolve(), tmp, stack
        # short: the path of a UNIX socket has 107 bytes
        self.inside = Path(tempfile.mkdtemp(prefix="r-", dir=root.resolve() / "tmp"))
        stack.callback(shutil.rmtree, self.inside, True)
        self.authority = Authority(tmp / "ca")
        self.ports = {"lb1": free_port(), "lb2": free_port()}

    def member(self, name: str) -> Member:
        member = Member(name)
        self.stack.callback(member.close)
        return member

    def haproxy(self, node: str, services: dict[str, list[Member]], **more: Any) -> Haproxy:
        folder = self.inside / node
        folder.mkdir()
        haproxy = Haproxy(self.root, folder, services, **more)
        self.stack.callback(haproxy.kill)
        self.stack.callback(haproxy.hang_up)
        haproxy.start()
        return haproxy

    def rotad(self, node: str, haproxy: Haproxy, document: dict[str, Any], **more: Any) -> Rotad:
        peers = {name: f"127.0.0.1:{port}" for name, port in self.ports.items() if name != node}
        rotad = Rotad(node, self.tmp / node, haproxy, self.ports[node], peers, document, self.authority, **more)
        self.stack.callback(rotad.kill)
        return rotad


def until(fn: Callable[[], Any], *, within: float = 20, what: str = "") -> Any:
    """Poll often. The limit is for a busy machine: a test that promises a time measures it."""
    return wait_until(fn, within=within, what=what, every=0.02)
