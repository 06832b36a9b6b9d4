"""Sockets in another network namespace, opened by the tests' own process: no program to start, no pipe to read."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm.lib.network import Peer

_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(peer: Peer) -> Iterator[None]:
    """Within this, the calling thread's new sockets (and new threads' sockets) are `peer`'s; setns(2) is per thread."""
    with (
        Path(f"/proc/self/task/{threading.get_native_id()}/ns/net").open() as home,
        Path(f"/run/netns/{peer.namespace}").open() as there,
    ):
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
