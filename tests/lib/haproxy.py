"""The real haproxy of Debian 13 with a rendered configuration: judge it, run it, ask it."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined
from rota.haproxy import HaproxyView, view
from rota.model import parse

from lib.poll import wait_until

TOP = Path(__file__).resolve().parents[2]
ROLE = TOP / "roles/haproxy"
RUN_FILES = {"state": "server-state", "feeds": "feeds"}


def site(services: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A document of a pair of nodes on loopback with `services`."""
    return {
        "site": {
            "name": "test",
            "nodes": {"lb1": {"address": "127.0.0.11"}, "lb2": {"address": "127.0.0.12"}},
            "networks": {"loopback": {"prefixes": ["127.0.0.0/8", "::/64"], "interface": "lo"}},
            **settings,
        },
        "services": dict(services),
    }


def view_of(document: dict[str, Any], node: str = "lb1") -> HaproxyView:
    """The view of `node`; fails with every problem when the model refuses the document."""
    result = parse(document)
    assert result.site is not None, "\n".join(map(str, result.problems))
    return view(result.site, node)


def render(shown: HaproxyView, folder: Path, **variables: Any) -> Path:
    """Write what the role writes into `folder`, without the files that an operator gives; return the configuration."""
    values = {**yaml.safe_load((ROLE / "defaults/main.yml").read_text()), **variables}
    environment = Environment(trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    template = environment.from_string((ROLE / "templates/haproxy.cfg.j2").read_text())
    for name in ("maps", "lua", "pages", "certs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, text in shown.maps.items():
        (folder / name).write_text(text)
    shutil.copy(ROLE / "files/rota.lua", folder / "lua")
    shutil.copy(ROLE / "files/rota.html", folder / "pages")
    for page in shown.pages:
        (folder / page.name).write_text("<p>ours</p>\n")
    config = folder / "haproxy.cfg"
    config.write_text(template.render(values, __haproxy_view=shown.as_dict(), ansible_managed="managed"))
    return config


@dataclass
class Haproxy:
    """A haproxy inside the root `root`; paths that it is given are named from there."""

    root: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    prefix: tuple[str | Path, ...] = ()  # put before its command: to run it in another network

    def inside(self, path: Path) -> str:
        """`path` as the daemon sees it."""
        return f"/{path.relative_to(self.root)}"

    @property
    def log(self) -> str:
        """Everything that it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def judge(self) -> subprocess.CompletedProcess[str]:
        """What `haproxy -c` says."""
        command = ["chroot", self.root, "haproxy", "-c", "-f", self.inside(self.folder / "haproxy.cfg")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def start(self) -> None:
        """Start it as the service does (master and worker), and wait until it serves."""
        socket = f"{self.inside(self.folder)}/haproxy-master.sock"
        command = ["chroot", str(self.root), "haproxy", "-W", "-S", socket, "-f", self.inside(self.folder / "haproxy.cfg")]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([*self.prefix, *command], stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: "Loading success" in self.log or self._running().poll() is not None, within=10)
        assert self._running().poll() is None, self.log
        wait_until(self._master_listens, within=5)

    def stop(self) -> None:
        """End it at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=10)

    def reload(self) -> None:
        """Save the state and reload, as the unit does; the new worker serves then."""
        command = [sys.executable, ROLE / "files/haproxy.py", "save"]
        subprocess.run(command, env={**os.environ, "ROTA_HAPROXY_RUN": str(self.folder)}, timeout=30, check=True)
        said = self.ask_master("reload")
        assert "Success=1" in said, said
        wait_until(lambda: "Uptime_sec" in self.ask("show info"), within=5)

    def ask_master(self, command: str) -> str:
        """The answer of the master's socket; `reload` is answered when the new worker serves, or is refused."""
        return self._talk("haproxy-master.sock", command)

    def ask(self, command: str) -> str:
        """The answer of the stats socket."""
        return self._talk("haproxy/admin.sock", command)

    def _talk(self, name: str, command: str) -> str:
        talk = ["chroot", self.root, "socat", "-t10", "-", f"UNIX:{self.inside(self.folder)}/{name}"]
        done = subprocess.run(talk, input=f"{command}\n", capture_output=True, text=True, timeout=20, check=True)
        return done.stdout

    def rows(self) -> list[dict[str, str]]:
        """`show stat`."""
        lines = self.ask("show stat").splitlines()
        return list(csv.DictReader(lines[1:], fieldnames=lines[0].removeprefix("# ").split(",")))

    def stat(self, backend: str, server: str) -> dict[str, str]:
        """One row of `show stat`."""
        found = [row for row in self.rows() if row["pxname"] == backend and row["svname"] == server]
        assert found, f"no server {backend}/{server}"
        return found[0]

    def wait_for(self, backend: str, server: str, status: str, within: float = 10) -> dict[str, str]:
        """Wait until a member's status begins with `status`; return its row."""
        wait_until(lambda: self.stat(backend, server)["status"].startswith(status), within=within)
        return self.stat(backend, server)

    def log_line(self, *parts: str, within: float = 5) -> str:
        """Wait for a line of the log that holds all `parts`."""

        def found() -> list[str]:
            return [line for line in self.log.splitlines() if all(part in line for part in parts)]

        wait_until(found, within=within)
        return found()[-1]

    def _master_listens(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return "worker" in self.ask_master("show proc")
        return False

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "it was not started"
        return self.process


@contextmanager
def folder_in(root: Path) -> Iterator[Path]:
    """A folder of its own inside `root`."""
    with tempfile.TemporaryDirectory(prefix="rota-", dir=root / "tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def prepared(root: Path, document: dict[str, Any], node: str = "lb1", **variables: Any) -> Iterator[Haproxy]:
    """A haproxy with the configuration of `node`, not started."""
    with folder_in(root) as folder:
        inside = f"/{folder.relative_to(root)}"
        run = folder / "haproxy"  # each test has its own /run/haproxy
        run.mkdir()
        paths = {f"haproxy_{name}_path": f"{inside}/haproxy/{file}" for name, file in RUN_FILES.items()}
        config = render(view_of(document, node), folder, **paths, **variables)
        config.write_text(config.read_text().replace("/run/haproxy/", f"{inside}/haproxy/"))
        (run / RUN_FILES["state"]).write_text("1\n")  # the version of the format, and no server: as at a first start
        yield Haproxy(root, folder)


@contextmanager
def running(root: Path, document: dict[str, Any], node: str = "lb1", **variables: Any) -> Iterator[Haproxy]:
    """A haproxy that serves; stopped at the end."""
    with prepared(root, document, node, **variables) as daemon:
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.stop()
