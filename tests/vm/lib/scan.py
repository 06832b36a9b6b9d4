"""A port scan: what a node answers to whom, TCP port by port."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable
from errno import EINPROGRESS

from vm.lib.inside import inside
from vm.lib.network import Peer

AT_ONCE = 1200


def tcp(peer: Peer, address: str, ports: Iterable[int], *, within: float = 3) -> dict[int, str]:
    """`open`, `closed` (a reset) or `silent` for each port; `within` seconds are waited for an answer.

    What was silent is asked a second time: a packet that an emulated machine lost is not a filter.
    """
    found = _once(peer, address, list(ports), within)
    silent = [port for port, state in found.items() if state == "silent"]
    return found | _once(peer, address, silent, within)


def _once(peer: Peer, address: str, ports: list[int], within: float) -> dict[int, str]:
    found: dict[int, str] = {}
    for begin in range(0, len(ports), AT_ONCE):
        found |= _batch(peer, address, ports[begin : begin + AT_ONCE], within)
    return found


def _batch(peer: Peer, address: str, ports: list[int], within: float) -> dict[int, str]:
    found = dict.fromkeys(ports, "silent")
    waiting = selectors.DefaultSelector()
    with inside(peer):
        for port in ports:
            line = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            line.setblocking(False)
            if line.connect_ex((address, port)) == EINPROGRESS:
                waiting.register(line, selectors.EVENT_WRITE, port)
    end = time.monotonic() + within
    while waiting.get_map() and (left := end - time.monotonic()) > 0:
        for key, _ in waiting.select(left):
            line = key.fileobj
            assert isinstance(line, socket.socket)
            found[key.data] = "closed" if line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else "open"
            waiting.unregister(line)
            line.close()
    for key in list(waiting.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    waiting.close()
    return found
