"""Undo what the agent said last, on HAProxy's admin socket.

After an agent's "down" only an agent can bring a server up again, so rotad does this at its start, and its unit once more
whenever it ends (`ExecStopPost=… -m rota.control.release`). Only the standard library: it must work when nothing else does.
"""

from __future__ import annotations

import csv
import socket
import sys

DEADLINE = 2.0
SOCKET = "/run/haproxy/admin.sock"


def releases(stats: str) -> list[str]:
    """The commands that bring up every server whose agent said "down", out of the CSV of `show stat`."""
    if not stats.startswith("# "):
        return []
    rows = csv.DictReader(stats[2:].rstrip("\n").split("\n"))
    return [
        f"set server {row['pxname']}/{row['svname']} agent up"
        for row in rows
        if row.get("type") == "2" and (row.get("agent_health") or "").strip() == "0"
    ]


def ask(path: str, command: str) -> str:
    """Send one line and return the whole answer; OSError when there is none."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(DEADLINE)
        link.connect(path)
        link.sendall(command.encode("ascii") + b"\n")
        parts = []
        while part := link.recv(65536):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def main(argv: list[str] | None = None) -> int:
    """Release all; 0 also when HAProxy is not there: then it holds nothing."""
    path = (sys.argv[1:] if argv is None else argv) or [SOCKET]
    try:
        for command in releases(ask(path[0], "show stat -1 4 -1")):
            ask(path[0], command)
    except OSError as error:
        print(f"rota: HAProxy does not answer ({error.strerror or error}): nothing to release", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
