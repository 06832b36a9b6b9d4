"""Runs inside one emulated machine, as root: what passing through a node costs, side by side, all in that machine.

Caller, node and member are network namespaces on one switch and share the one processor, whose time counts the
instructions of all three. First connections, as many as that processor can; then bytes over links of 1 Gbit/s, which set
the same pace for every way, and what of the processor they took.
Prints one JSON line per round and way: how, and rate in connections per second, or throughput in MiB per second and
counted in MiB per second of processor time.
Needs only Python's standard library, ip, tc, ipvsadm and haproxy.

Usage: forwarding.py ROUNDS MEBIBYTES CONNECTIONS
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

CALLER, NODE, MEMBER = "bench-caller", "bench-node", "bench-member"
PORT = 9000
ADDRESSES = {"direct": "198.18.0.3", "dr": "198.18.0.100", "nat": "198.18.0.101", "l7": "198.18.0.2"}
LEGS = [(CALLER, "a", "198.18.0.1/24"), (NODE, "a", "198.18.0.2/24"), (MEMBER, "a", "198.18.0.3/24"),
        (NODE, "b", "198.18.1.2/24"), (MEMBER, "b", "198.18.1.3/24")]  # fmt: skip
HAPROXY = """
global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen l7
  bind 198.18.0.2:9000
  server m 198.18.0.3:9000
"""
DIRECT = "net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"


def run(line, check=True):
    """Run words."""
    return subprocess.run(line.split(), check=check, capture_output=True, text=True)


def lay():
    """Make the namespaces: one network for all, and one behind the node for NAT."""
    for switch in ("bench-a", "bench-b"):
        run(f"ip link add {switch} type dummy")
        run(f"ip link set {switch} up")
    for name in (CALLER, NODE, MEMBER):
        run(f"ip netns add {name}")
        run(f"ip -n {name} link set lo up")
    for name, leg, address in LEGS:
        # the cheapest switch that the kernel has: a real one costs the machines nothing
        run(f"ip link add leg-{leg} link bench-{leg} netns {name} type macvlan mode bridge")
        run(f"ip -n {name} link set leg-{leg} up")
        run(f"ip -n {name} address add {address} dev leg-{leg}")
    for address in (ADDRESSES["dr"], ADDRESSES["nat"]):
        run(f"ip -n {NODE} address add {address}/24 dev leg-a")
    run(f"ip netns exec {NODE} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0")
    run(f"ip netns exec {MEMBER} sysctl -qw {DIRECT} net.ipv4.conf.all.rp_filter=0")
    run(f"ip -n {MEMBER} address add {ADDRESSES['dr']}/32 dev lo")
    # what came through NAT goes back through the node; what came directly goes back directly
    run(f"ip -n {MEMBER} rule add from 198.18.1.3 lookup 100")
    run(f"ip -n {MEMBER} route add default via 198.18.1.2 table 100")
    inside = f"ip netns exec {NODE} ipvsadm"
    run(f"{inside} -A -t {ADDRESSES['dr']}:{PORT} -s rr")
    run(f"{inside} -a -t {ADDRESSES['dr']}:{PORT} -r 198.18.0.3:{PORT} -g")
    run(f"{inside} -A -t {ADDRESSES['nat']}:{PORT} -s rr")
    run(f"{inside} -a -t {ADDRESSES['nat']}:{PORT} -r 198.18.1.3:{PORT} -m")


def limit():
    """Give every leg a link of 1 Gbit/s."""
    for name, leg, _ in LEGS:
        run(f"tc -n {name} qdisc add dev leg-{leg} root tbf rate 1gbit burst 128k latency 50ms")


def enter(name):
    """Move this process into a namespace."""
    with open(f"/run/netns/{name}") as there:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), name)


def member():
    """Take what comes, and say one byte when the caller has said all."""
    enter(MEMBER)
    listener = socket.create_server(("0.0.0.0", PORT), backlog=512)  # noqa: S104 (a namespace of its own)
    buffer = bytearray(1 << 20)
    while True:
        line, _ = listener.accept()
        with line, contextlib.suppress(ConnectionError):  # the caller says what it missed
            while line.recv_into(buffer):
                pass
            line.sendall(b"1")


def send(address, size, file):
    """Seconds to send `size` bytes and hear that all arrived."""
    began = time.monotonic()
    with socket.create_connection((address, PORT), timeout=120) as line:
        sent = 0
        while sent < size:
            sent += line.sendfile(file, 0, min(size - sent, 8 << 20))
        answered(line, address)
    return time.monotonic() - began


def answered(line, address):
    """Say that all is said, and hear that all arrived."""
    line.shutdown(socket.SHUT_WR)
    if line.recv(1) != b"1":
        raise SystemExit(f"{address}: the member's answer did not arrive")


def connect(address, times):
    """Seconds for connections, eight at any time, each answered and closed."""

    def one(_):
        with socket.create_connection((address, PORT), timeout=30) as line:
            line.sendall(b"0")  # HAProxy does not call a server for a caller that has left without a word
            answered(line, address)

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(one, range(times)):
            pass
    return time.monotonic() - began


def idle():
    """Seconds that the processor had nothing to do, since the start."""
    with open("/proc/uptime") as said:
        return float(said.read().split()[1])


def say(how, **figures):
    """Print what one way gave."""
    print(json.dumps({"how": how, **figures}), flush=True)


def main():
    """Measure in turns."""
    rounds, mebibytes, connections = (int(word) for word in sys.argv[1:4])
    if os.cpu_count() != 1:
        raise SystemExit("forwarding: the machine needs exactly one processor, whose time is counted")
    lay()
    child = os.fork()
    if child == 0:
        member()
    with tempfile.NamedTemporaryFile("w", suffix=".cfg", delete=False) as config:
        config.write(HAPROXY)
    proxy = subprocess.Popen(["ip", "netns", "exec", NODE, "haproxy", "-f", config.name, "-db"], stderr=subprocess.DEVNULL)
    try:
        measure(rounds, mebibytes, connections)
    finally:  # whoever waits for our output waits for theirs, too
        proxy.terminate()
        os.kill(child, 9)


def measure(rounds, mebibytes, connections):
    """Print what each way took, in turns; the first one of each warms caches and is not said."""
    with open("/dev/shm/bench", "w+b") as file:  # noqa: S108 (the guest's own)
        file.write(os.urandom(1 << 20) * 8)
        file.flush()
        time.sleep(2)
        enter(CALLER)
        for round_ in range(rounds + 1):
            for how, address in ADDRESSES.items():
                rate = connections / connect(address, connections)
                if round_:
                    say(how, rate=rate)
        limit()
        for round_ in range(rounds + 1):
            for how, address in ADDRESSES.items():
                idled = idle()
                took = send(address, mebibytes << 20, file)
                worked = took - (idle() - idled)
                if round_:
                    say(how, throughput=mebibytes / took, counted=mebibytes / worked)


if __name__ == "__main__":
    main()
