"""Packets on a bridge: kept for whoever looks at a failed scenario, and counted by scenarios that are about them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vm.lib.network import Network, must

SNAP = 160  # bytes: every header, no content
MOST = 300_000  # packets: a scenario that sends more keeps its beginning


class Capture:
    """tcpdump on one bridge, from now until `stop`."""

    def __init__(self, network: Network, bridge: str, file: Path, *expression: str) -> None:
        self.file = file
        command = [
            "tcpdump",
            "-i",
            bridge,
            "--immediate-mode",
            "-U",
            "-n",
            "-s",
            str(SNAP),
            "-c",
            str(MOST),
            "-w",
            str(file),
            *expression,
        ]
        self._process = subprocess.Popen(
            network.inside(*command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        network.reaper.mind(self._process)
        assert self._process.stderr
        for line in self._process.stderr:
            if "listening on" in line:
                return
        raise AssertionError(f"tcpdump on {bridge} has ended")

    def stop(self) -> None:
        """End it; the file is whole then."""
        self._process.terminate()
        self._process.communicate(timeout=10)

    def count(self, expression: str) -> int:
        """Packets so far that match an expression of pcap-filter(7)."""
        return len(must("tcpdump", "-n", "-r", str(self.file), expression).splitlines())
