"""rota-web: the status and maintenance app. It speaks to rotad's socket only, and runs without rights of its own."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`create_app`, fetched on use: Ansible's filters read this package too, and need no Flask."""
    if name == "create_app":
        from rota.web.app import create_app

        return create_app
    raise AttributeError(name)
