"""Say how this host stands to what role base is about to bring it to: one JSON document, so that what is right is skipped.

Usage: host.py ARCHIVE KEY=VALUE...    (the package archive's place, or nothing; sysctl keys, with dots)
A container has no clock and few settings of its own; asking beats guessing from the kind of host.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

CAP_SYS_TIME = 25  # capabilities(7)
UNITS = ("chrony.service", "rota-quickack.service")
HOSTS = Path("/etc/hosts")
BLOCK = re.compile("^# BEGIN of what Rota manages\n(.*?)^# END of what Rota manages$", re.MULTILINE | re.DOTALL)


def place(key: str) -> Path:
    """Where a setting is."""
    return Path("/proc/sys", key.replace(".", "/"))


def names() -> list[str] | None:
    """The lines that Rota manages in /etc/hosts; None when the file is not as it should be otherwise."""
    if not HOSTS.exists() or HOSTS.stat().st_mode & 0o7777 != 0o644:
        return None
    found = BLOCK.findall(HOSTS.read_text(encoding="utf-8", errors="replace"))
    if len(found) > 1:
        return None
    return found[0].splitlines() if found else []


def units() -> dict[str, list[str]]:
    """Which of UNITS are enabled, and which run."""
    asked = ["systemctl", "show", "--property=Id,UnitFileState,ActiveState", *UNITS]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in said.split("\n\n")]
    return {
        "enabled": [unit["Id"] for unit in found if unit.get("UnitFileState") == "enabled"],
        "active": [unit["Id"] for unit in found if unit.get("ActiveState") in ("active", "activating")],
    }


def main() -> None:
    """Print the answer."""
    status = Path("/proc/1/status").read_text(encoding="utf-8")
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    clock = bool(found and int(found[1], 16) >> CAP_SYS_TIME & 1)
    wanted = dict(word.split("=", 1) for word in sys.argv[2:])
    closed = [key for key in wanted if not os.access(place(key), os.W_OK)]
    answer = {
        "archive": os.path.exists(sys.argv[1]),
        "name": socket.gethostname(),
        "clock": clock,
        "closed": closed,
        "missing": ([] if clock else ["the clock"]) + closed,
        "differ": [
            key
            for key, value in wanted.items()
            if key not in closed and place(key).read_text(encoding="utf-8").split() != value.split()
        ],
        "hosts": names(),
        "zone": os.readlink("/etc/localtime") if os.path.islink("/etc/localtime") else None,
    }
    print(json.dumps(answer | units()))


main()
