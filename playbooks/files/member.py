#!/usr/bin/python3
"""Make service addresses this host's own without telling the network, for IPVS in mode DR or TUN; and take it back.

Usage: member on PLAN    bring the host to the plan, a JSON file: {"direct": [address…], "tunnel": [address…]}
       member off        take everything back, kernel settings too

Prints what it changed: nothing means that nothing was to do. Needs Linux, iproute2 and Python 3.7.
"""

import json
import os
import shutil
import subprocess
import sys

# systemd names the folder (StateDirectory); this is the same one
STATE = os.path.join(os.environ.get("STATE_DIRECTORY", "/var/lib/rota-member"), "state.json")
QUIET = {
    # an ARP request is answered only where it asks for an address of the interface that it came in by
    "net/ipv4/conf/all/arp_ignore": "1",
    # and this host's own requests never name a service address as their sender
    "net/ipv4/conf/all/arp_announce": "2",
}
# What comes out of the tunnel has callers' addresses, whose way back is another interface; the larger of `all` counts.
TUNNEL = {"net/ipv4/conf/tunl0/rp_filter": "2"}


def ip(*words, check=True):
    """Run iproute2."""
    done = subprocess.run(("ip",) + words, capture_output=True, text=True)  # noqa: S603
    if check and done.returncode:
        sys.exit("ip {}: {}".format(" ".join(words), done.stderr.strip()))
    return done


def read(key):
    """A kernel setting."""
    with open("/proc/sys/" + key) as handle:
        return handle.read().strip()


def write(key, value):
    """Set a kernel setting if it differs, and say so."""
    if read(key) != value:
        with open("/proc/sys/" + key, "w") as handle:
            handle.write(value)
        print(f"{key} = {value}")


def load():
    """What an earlier run did: addresses with their interfaces, settings as they were before."""
    try:
        with open(STATE) as handle:
            return json.load(handle)
    except OSError:
        return {"addresses": [], "before": {}}


def save(state):
    """Keep it, whole or not at all."""
    os.makedirs(os.path.dirname(STATE), exist_ok=True)
    with open(STATE + ".new", "w") as handle:
        json.dump(state, handle)
    os.rename(STATE + ".new", STATE)


def length(address):
    """The prefix of one address."""
    return "/128" if ":" in address else "/32"


def holds(address, device):
    """Whether an address is on an interface."""
    shown = ip("-oneline", "address", "show", "dev", device, check=False).stdout.split()
    return address + length(address) in shown or address in shown


def open_tunnel(device, module):
    """Bring the kernel's own tunnel interface up; it takes packets from every director."""
    if ip("link", "show", device, check=False).returncode and shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", module], check=False)  # noqa: S603, S607
    shown = ip("link", "show", device, check=False)
    if shown.returncode:
        sys.exit(f"{device}: this kernel has no {module}, so mode l4-tun cannot work here: use l4-dr")
    if "UP" not in shown.stdout.split("<")[1].split(">")[0].split(","):
        ip("link", "set", device, "up")
        print(f"{device} is up")


def on(plan):
    """Bring the host to `plan`."""
    wanted = [[address, "lo"] for address in plan["direct"]]
    wanted += [[address, "ip6tnl0" if ":" in address else "tunl0"] for address in plan["tunnel"]]
    state = load()
    devices = {device for _, device in wanted}
    if "tunl0" in devices:
        open_tunnel("tunl0", "ipip")
    if "ip6tnl0" in devices:
        open_tunnel("ip6tnl0", "ip6_tunnel")
    settings = dict(QUIET) if any(":" not in address for address, _ in wanted) else {}
    settings.update(TUNNEL if "tunl0" in devices else {})
    for key in settings:
        state["before"].setdefault(key, read(key))
    known = {tuple(pair) for pair in state["addresses"] + wanted}
    state["addresses"] = sorted(map(list, known))
    save(state)  # before anything is done: whatever happens, `off` knows what to take back
    # quiet first: an address that is there before would be answered for
    for key, value in settings.items():
        write(key, value)
    for address, device in sorted(known - {tuple(pair) for pair in wanted}):
        remove(address, device)
    for address, device in wanted:
        if not holds(address, device):
            # IPv6: nobody is asked whether it is free, and it is never the source of this host's own connections
            more = ("nodad", "preferred_lft", "0") if ":" in address else ()
            ip("address", "replace", address + length(address), "dev", device, *more)
            print(f"{address} on {device}")
    for key in sorted(set(state["before"]) - set(settings)):
        restore(state, key)
    state["addresses"] = wanted
    save(state)


def remove(address, device):
    """Take an address away."""
    if holds(address, device):
        ip("address", "del", address + length(address), "dev", device)
        print(f"{address} off {device}")


def restore(state, key):
    """Put a setting back to what it was."""
    value = state["before"].pop(key)
    if os.path.exists("/proc/sys/" + key):
        write(key, value)


def off():
    """Take everything back."""
    state = load()
    for address, device in state["addresses"]:
        remove(address, device)
    for device in sorted({device for _, device in state["addresses"]} - {"lo"}):
        ip("link", "set", device, "down", check=False)
    for key in sorted(state["before"]):
        restore(state, key)
    if os.path.exists(STATE):
        os.unlink(STATE)


if __name__ == "__main__":
    if sys.argv[1:2] == ["on"] and len(sys.argv) == 3:
        with open(sys.argv[2]) as written:
            on(json.load(written))
    elif sys.argv[1:] == ["off"]:
        off()
    else:
        sys.exit(__doc__)
