"""rota-web as a server of its own: gunicorn, one process with threads, TLS 1.2 or newer."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from rota.web.api.views import STREAMS
from rota.web.app import create_app
from rota.web.config import WebConfig

SPARE = 12  # threads that no stream can take: pages and acts


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, told here what it otherwise reads from files and the environment."""

    def __init__(self, config: WebConfig) -> None:
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn."""
        for name, value in settings(self._config).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the app; after a reload too."""
        return create_app(self._config)


def settings(config: WebConfig) -> dict[str, Any]:
    """What gunicorn has to know."""
    return {
        "bind": [f"[{a}]:{config.port}" if _six(a) else f"{a}:{config.port}" for a in config.listen],
        # One process: the limits on requests and streams are counted in its memory.
        "workers": 1,
        "worker_class": "rota.web.worker.Worker",
        "threads": config.streams + STREAMS + SPARE,
        "worker_connections": 200,
        "certfile": str(config.certificate),
        "keyfile": str(config.key),
        "ssl_context": _context,
        "timeout": 30,
        "graceful_timeout": 5,
        "keepalive": 30,
        "limit_request_line": 4094,
        "limit_request_fields": 50,
        "limit_request_field_size": 8190,
        "forwarded_allow_ips": "",  # nobody stands in front: what says otherwise is not believed
        "control_socket_disable": True,
        "errorlog": "-",
        "proc_name": "rota-web",
    }


def _six(address: str) -> bool:
    return isinstance(ip_address(address), IPv6Address)


def _context(_: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2; those of 1.3 are all good
    return context
