"""gunicorn's thread worker, with an end to requests that do not come to one: a slow sender must not keep a thread.

gunicorn leaves that to a proxy in front; rota-web has none, because it has to be reachable when the proxy is down.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

REQUEST_SECONDS = 90.0  # from its first byte to the last of its answer; an act may take 60
_deadlines: dict[Any, float] = {}  # connection → when it is cut, on the monotonic clock
_turn = threading.Lock()


def long_lived(environ: dict[str, Any]) -> None:
    """The answer to the request of `environ` is a stream: it may last."""
    link = environ.get("gunicorn.socket")
    with _turn:
        for conn in [conn for conn in _deadlines if conn.sock is link]:
            del _deadlines[conn]


class Worker(ThreadWorker):  # type: ignore[misc]
    """Cuts connections whose request takes too long."""

    def handle(self, conn: Any) -> Any:
        """Watch one request, its TLS handshake too."""
        with _turn:
            _deadlines[conn] = time.monotonic() + REQUEST_SECONDS
        try:
            return super().handle(conn)
        finally:
            with _turn:
                _deadlines.pop(conn, None)

    def murder_keepalived(self, force: bool = False) -> None:
        """Called at least once a second: cut what is over its time, too."""
        super().murder_keepalived(force)
        now = time.monotonic()
        with _turn:
            late = [conn for conn, end in _deadlines.items() if end < now]
            for conn in late:
                del _deadlines[conn]
        for conn in late:
            with contextlib.suppress(OSError):
                # not SSLSocket's own: that takes the TLS state away from the thread that waits on it
                socket.socket.shutdown(conn.sock, socket.SHUT_RDWR)
