"""Clients: plain connections that say which member they reached, and the storing of a series."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers.servers import find
from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.association import Association
from vm.lib.inside import inside
from vm.lib.network import Peer

from lib.series import Instance


@dataclass
class Held:
    """An open connection to a `Who`: `member` is whom it reached, `caller` whom that one saw."""

    line: socket.socket
    member: str
    caller: str

    def alive(self, *, within: float = 5) -> bool:
        """Send a line and wait for its echo."""
        return self.fate(within=within) == "alive"

    def fate(self, *, within: float = 5) -> str:
        """Send a line and wait: `alive` when it is echoed, `told` when the connection was ended, `silent`, `unreachable`."""
        self.line.settimeout(within)
        try:
            self.line.sendall(b"still here\n")
            return "alive" if self.line.recv(64) == b"still here\n" else "told"
        except TimeoutError:
            return "silent"
        except ConnectionError:
            return "told"
        except OSError:
            return "unreachable"

    def close(self) -> None:
        """Hang up."""
        self.line.close()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def call(client: Peer, address: str, port: int, *, within: float = 5, source: str | None = None) -> Held:
    """Connect and hear who answered; OSError when nobody did."""
    with inside(client):
        line = socket.create_connection((address, port), timeout=within, source_address=(source, 0) if source else None)
    try:
        said = b""
        while not said.endswith(b"\n"):
            chunk = line.recv(1024)
            if not chunk:
                raise ConnectionResetError("closed before it said who it is")
            said += chunk
    except OSError:
        line.close()
        raise
    told = json.loads(said)
    return Held(line, told["member"], told["caller"])


def members(client: Peer, address: str, port: int, times: int, *, within: float = 5) -> Counter[str]:
    """Call `times` times, one after the other; return how often each member answered (`-`: nobody)."""
    found: Counter[str] = Counter()
    for _ in range(times):
        try:
            held = call(client, address, port, within=within)
        except OSError:
            found["-"] += 1
        else:
            found[held.member] += 1
            held.close()
    return found


@contextmanager
def calls(client: Peer, address: str, port: int, times: int) -> Iterator[list[Held]]:
    """Hold `times` connections."""
    held: list[Held] = []
    try:
        for _ in range(times):
            held.append(call(client, address, port))
        yield held
    finally:
        for one in held:
            one.close()


def datagrams(client: Peer, address: str, port: int, times: int, *, within: float = 5) -> Counter[str]:
    """Send `times` datagrams, each from a port of its own; return how often each member answered from `address` (`-`: nobody)."""
    found: Counter[str] = Counter()
    for _ in range(times):
        with inside(client), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(within)
            line.connect((address, port))
            try:
                line.send(b"<13>rota: who is it\n")
                found[json.loads(line.recv(1024))["member"]] += 1
            except OSError:
                found["-"] += 1
    return found


@contextmanager
def associated(
    client: Peer, address: str, port: int, datasets: Sequence[Dataset], *, called: str = "PACS"
) -> Iterator[Association]:
    """An association that can store these; AssertionError when nobody accepts it."""
    entity = AE(ae_title="CT1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.connection_timeout = 10
    for dataset in datasets:
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    with inside(client):
        association = entity.associate(address, port, ae_title=called)
    assert association.is_established, f"no association with {address} port {port}"
    try:
        yield association
    finally:
        association.release()


def send(association: Association, datasets: Sequence[Dataset]) -> list[int]:
    """Return the status of each C-STORE, -1 where there was no answer."""
    return [int(getattr(association.send_c_store(dataset), "Status", -1)) for dataset in datasets]


def store(client: Peer, address: str, port: int, files: Sequence[Instance], *, called: str = "PACS") -> list[int]:
    """Send a series in one association with pynetdicom; return the status of each C-STORE."""
    datasets = [dcmread(one.path) for one in files]
    with associated(client, address, port, datasets, called=called) as association:
        return send(association, datasets)


def dcmtk_store(client: Peer, address: str, port: int, folder: Path) -> None:
    """Send the files of a folder in one association with DCMTK's storescu (IPv4 only)."""
    client.check(
        find("storescu") or "storescu",
        "-to",
        "10",
        "-aet",
        "CT1",
        "-aec",
        "PACS",
        "+sd",
        address,
        str(port),
        str(folder),
        timeout=120,
    )
