"""The members' end of an IPVS tunnel: takes packets out of IP-in-IP (RFC 2003, RFC 2473), without the host's `ipip` module.

The outer headers are the kernel's work at the sending end, which is what is tested; what comes out is handed to the
kernel of this end through a TUN device, as if it had come from the wire.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from dataclasses import dataclass, field

from vm.lib.inside import inside
from vm.lib.network import Peer

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


@dataclass
class TunnelEnd:
    """Runs as long as the tests do; `senders` are the outer source addresses that were seen."""

    peer: Peer
    senders: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        with inside(self.peer):
            device = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"tunl", _IFF_TUN | _IFF_NO_PI))
            lines = [
                socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP),
                socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_IPV6),
            ]
        self.peer.sysctl("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.tunl.rp_filter=0")
        self.peer.ip("link", "set", "tunl", "up")
        for line in lines:
            threading.Thread(target=self._unpack, args=(line, device), daemon=True).start()

    def _unpack(self, line: socket.socket, device: int) -> None:
        while True:
            packet, sender = line.recvfrom(65536)
            self.senders.add(sender[0])
            # a raw IPv4 socket hands over the outer header too (raw(7)), an IPv6 one does not
            outer = (packet[0] & 15) * 4 if line.family == socket.AF_INET else 0
            os.write(device, packet[outer:])
