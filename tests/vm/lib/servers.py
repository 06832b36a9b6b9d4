"""Members: a server that says who it is and whom it sees, and a DICOM archive that keeps what it is sent."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from vm.lib.inside import inside
from vm.lib.network import Peer

from lib.series import digest


@dataclass
class Who:
    """Says its name and the caller's address on TCP (then echoes each line) and on UDP, both families, at each of `ports`."""

    peer: Peer
    ports: tuple[int, ...]
    udp_ports: tuple[int, ...] = ()
    heard: list[tuple[str, int]] = field(default_factory=list)  # caller, port

    def __post_init__(self) -> None:
        self._open: list[socket.socket] = []
        self._stopping = False
        with inside(self.peer):
            for port in self.ports:
                listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
                self._open.append(listener)
                threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
            for port in self.udp_ports:
                self._datagrams(port)

    def _datagrams(self, port: int) -> None:
        line = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        line.bind(("::", port))
        self._open.append(line)
        threading.Thread(target=self._answer, args=(line, port), daemon=True).start()

    def _answer(self, line: socket.socket, port: int) -> None:
        while not self._stopping:
            try:
                _, ancillary, _, caller = line.recvmsg(2048, 256)
            except OSError:
                return
            if not caller:  # shut down
                return
            name = str(caller[0]).removeprefix("::ffff:")
            self.heard.append((name, port))
            # the same control data sent back names the source address (ipv6(7))
            line.sendmsg([self._line(name)], ancillary, 0, caller)

    def _accept(self, listener: socket.socket, port: int) -> None:
        while not self._stopping:
            try:
                line, caller = listener.accept()
            except OSError:
                return
            self._open.append(line)
            name = str(caller[0]).removeprefix("::ffff:")
            self.heard.append((name, port))
            threading.Thread(target=self._talk, args=(line, name), daemon=True).start()

    def _line(self, caller: str) -> bytes:
        return json.dumps({"member": self.peer.name, "caller": caller}).encode() + b"\n"

    def _talk(self, line: socket.socket, caller: str) -> None:
        try:
            line.sendall(self._line(caller))
            while data := line.recv(65536):
                line.sendall(data)
        except OSError:
            pass
        finally:
            line.close()

    def stop(self) -> None:
        """Close everything: new callers are refused, old ones are cut."""
        self._stopping = True
        for line in self._open:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()


@dataclass
class Archive:
    """A DICOM archive at `port`, both families: keeps the SHA-256 of each instance and the address of each caller."""

    peer: Peer
    port: int = 11112
    stored: dict[str, str] = field(default_factory=dict)  # SOP instance UID → SHA-256
    callers: list[str] = field(default_factory=list)  # of associations that stored

    def __post_init__(self) -> None:
        entity = AE(ae_title="PACS")
        entity.maximum_associations = 200
        entity.supported_contexts = [*AllStoragePresentationContexts]
        entity.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, lambda event: 0)]
        with inside(self.peer):
            self._server = entity.start_server(("::", self.port), block=False, evt_handlers=handlers)

    def _store(self, event: Any) -> int:
        dataset: Dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.stored[str(dataset.SOPInstanceUID)] = digest(dataset)
        caller = str(event.assoc.requestor.address).removeprefix("::ffff:")
        if caller not in self.callers:
            self.callers.append(caller)
        return 0

    def forget(self) -> None:
        """Empty the archive."""
        self.stored.clear()
        self.callers.clear()

    def stop(self) -> None:
        """Close everything."""
        self._server.shutdown()


__all__ = ["Archive", "Who"]
