"""The machine's network cards, and whether an address is already somebody's."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

ARP = 0x0806


def cards(sys: Path = Path("/sys/class/net")) -> list[str]:
    """Names of the real network cards (those with a device behind them), in the order of their names."""
    return sorted(path.name for path in sys.iterdir() if (path / "device").exists()) if sys.is_dir() else []


def chosen(wanted: str, sys: Path = Path("/sys/class/net")) -> str | None:
    """The card that `wanted` names or whose MAC address it is; the first one for an empty text; None when there is none."""
    for name in cards(sys):
        if wanted in ("", name) or (sys / name / "address").read_text().strip() == wanted:
            return name
    return None


def up(name: str, sys: Path = Path("/sys/class/net"), within: float = 8.0) -> bool:
    """Switch the card on and wait for its cable; False when there is no carrier."""
    subprocess.run(["ip", "link", "set", name, "up"], check=False, capture_output=True, timeout=10)  # noqa: S603, S607
    end = time.monotonic() + within
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if (sys / name / "carrier").read_text().strip() == "1":
                return True
        time.sleep(0.1)
    return False


def probe(mac: bytes, address: IPv4Address) -> bytes:
    """An ARP probe: who has `address`, asked without claiming it (RFC 5227, 2.1.1)."""
    head = b"\xff" * 6 + mac + struct.pack("!H", ARP)
    return head + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + b"\0" * 4 + b"\0" * 6 + address.packed


def claimed(frame: bytes, mac: bytes, address: IPv4Address) -> str | None:
    """The MAC address that says in `frame` that it has `address`, or probes for it too; None when the frame says neither."""
    if len(frame) < 42 or frame[12:14] != struct.pack("!H", ARP):
        return None
    sender, source, target = frame[22:28], frame[28:32], frame[38:42]
    if sender == mac or (source != address.packed and not (source == b"\0" * 4 and target == address.packed)):
        return None
    return ":".join(f"{byte:02x}" for byte in sender)


def holder(
    name: str, address: IPv4Address, *, tries: int = 3, wait: float = 1.0,
    open_socket: Callable[[str], socket.socket] | None = None,
) -> str | None:  # fmt: skip
    """The MAC address of who has `address` on the network of the card `name` already; None when nobody says so.

    At most `tries` × `wait` seconds.
    """
    if open_socket is None:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
        sock.bind((name, 0))
    else:
        sock = open_socket(name)
    with sock:
        mac = sock.getsockname()[4]
        for _ in range(tries):
            sock.send(probe(mac, address))
            end = time.monotonic() + wait
            while (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                try:
                    frame = sock.recv(2048)
                except TimeoutError:
                    break
                if found := claimed(frame, mac, address):
                    return found
    return None
