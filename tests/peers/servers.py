"""Real DICOM servers of Debian: Orthanc and DCMTK. Each is a context manager that yields a running server."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.network import need

from peers.tcp import free_port

PACKAGES = {"Orthanc": "orthanc", "storescp": "dcmtk", "dcmqrscp": "dcmtk"}


@dataclass(frozen=True)
class Server:
    """A running server: its AE title, port, process, the folder with what it stored, its HTTP port if it has one."""

    title: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    http: int = 0

    @property
    def hostport(self) -> str:
        """HOST:PORT as the command line takes it."""
        return f"127.0.0.1:{self.port}"


def ensure(*programs: str) -> None:
    """Install the Debian packages of `programs` if they are missing."""
    missing = {PACKAGES[name] for name in programs if not find(name)}
    if missing:
        need(*sorted(missing))


def find(program: str) -> str | None:
    """Return the path of a program of Debian; the venv has Python scripts of the same names (pynetdicom's storescp)."""
    return shutil.which(program, path="/usr/bin:/usr/sbin")


@contextlib.contextmanager
def _running(argv: list[str], ports: tuple[int, ...], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 20
        for port in ports:
            while True:
                assert process.poll() is None, log.read_text(errors="replace")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert time.monotonic() < limit, f"{argv[0]} does not listen: {log.read_text(errors='replace')}"
                time.sleep(0.05)
        yield process
    finally:
        # Orthanc takes seconds to stop in good order, and nobody needs what it would save.
        process.kill()
        process.wait(5)


@contextlib.contextmanager
def storescp(folder: Path, *options: str, title: str = "STORESCP") -> Iterator[Server]:
    """Run DCMTK's storescp; `options` such as `--refuse` make it misbehave."""
    ensure("storescp")
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv = [find("storescp") or "storescp", "-aet", title, "-od", str(store), *options, str(port)]
    with _running(argv, (port,), folder / "storescp.log") as process:
        yield Server(title, port, process, store)


@contextlib.contextmanager
def dcmqrscp(folder: Path, *, title: str = "DCMQRSCP", quota: str = "(100, 100mb)") -> Iterator[Server]:
    """Run DCMTK's archive; `quota` is (studies, bytes per study)."""
    ensure("dcmqrscp")
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{title} {store} RW {quota} ANY\nAETable END\n"
    )
    argv = [find("dcmqrscp") or "dcmqrscp", "-c", str(config)]
    with _running(argv, (port,), folder / "dcmqrscp.log") as process:
        yield Server(title, port, process, store)


@contextlib.contextmanager
def orthanc(folder: Path, *, title: str = "ORTHANC", **settings: Any) -> Iterator[Server]:
    """Run Orthanc; `settings` go into its configuration (`DicomAlwaysAllowStore=False`, say)."""
    ensure("Orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    port, http = free_port(), free_port()
    config = folder / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "Name": title,
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "Plugins": [],
                "DicomAet": title,
                "DicomPort": port,
                "DicomCheckCalledAet": True,
                "HttpPort": http,
                "RemoteAccessAllowed": False,
                "DicomAlwaysAllowEcho": True,
                "DicomAlwaysAllowStore": True,
                "DicomAlwaysAllowFind": True,
                **settings,
            }
        )
    )
    # DICOM first, its web pages a little later
    with _running([find("Orthanc") or "Orthanc", str(config)], (port, http), folder / "orthanc.log") as process:
        yield Server(title, port, process, folder / "storage", http)
