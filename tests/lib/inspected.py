"""Testinfra's view of a lab host, without `podman exec`."""

from __future__ import annotations

from typing import Any

import testinfra
from testinfra.backend.base import BaseBackend, CommandResult

from lib.lab import Host


class _Backend(BaseBackend):
    NAME = "rota-lab"

    def __init__(self, host: Host) -> None:
        self._lab = host
        super().__init__(host.name)

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        text = self.get_command(command, *args)
        argv = self._lab.inside("/bin/sh", "-c", text)
        out = self.run_local(" ".join(["%s"] * len(argv)), *argv)
        out.command = self.encode(text)
        return out


def inspected(host: Host) -> testinfra.host.Host:
    """Return `host` as testinfra sees it."""
    return testinfra.host.Host(_Backend(host))
