"""The lab's own network on this host, and how to leave no trace of it.

podman turns on forwarding and lays packet filter rules when it makes a network. Both are noted before and
put back after. An `unreachable` route stands behind the lab's subnets: with the bridge down their packets
must not leave by the default route.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

SWITCHES = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]
FAMILIES = {"-4": "subnet", "-6": "subnet6"}
METRIC = "4294967294"
# The tables that podman's network back ends use, by way of iptables or nftables.
TABLES = [("ip", "filter"), ("ip", "nat"), ("ip6", "filter"), ("ip6", "nat"), ("inet", "netavark")]


def run(*words: str, check: bool = True) -> str:
    """Run a program; return what it printed. A failure ends the run with its own words."""
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"lab: {' '.join(words[:3])}: {done.stderr.strip()}")
    return done.stdout


def podman(*words: str, check: bool = True) -> str:
    """Run podman; return what it printed."""
    return run("podman", *words, check=check)


def _tables() -> list[list[str]]:
    listed = json.loads(run("nft", "--json", "list", "tables", check=False) or '{"nftables": []}')
    rows = [row["table"] for row in listed["nftables"] if "table" in row]
    return [[row["family"], row["name"]] for row in rows]


def _note(folder: Path) -> None:
    """Write down how this host is before the lab changes it."""
    file = folder / "state" / "host.json"
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {name: Path("/proc/sys", name).read_text().strip() for name in SWITCHES}
    file.write_text(json.dumps({"switches": values, "tables": _tables()}) + "\n")


def create(folder: Path, network: dict[str, str], say: Callable[[str], None]) -> None:
    """Make the network and its guard routes if they are not there."""
    _note(folder)
    (folder / "state" / "network.json").write_text(json.dumps(network) + "\n")
    if subprocess.run(["podman", "network", "exists", network["name"]]).returncode:
        podman("network", "create", "--disable-dns", "--ipv6",
               f"--subnet={network['subnet']}", f"--gateway={network['gateway']}",
               f"--subnet={network['subnet6']}", f"--gateway={network['gateway6']}", network["name"])  # fmt: skip
        say(f"network {network['name']} created")
    for family, key in FAMILIES.items():
        if not run("ip", family, "route", "show", "type", "unreachable", network[key]).strip():
            run("ip", family, "route", "add", "unreachable", network[key], "metric", METRIC)
            say(f"route unreachable {network[key]} added")


def remove(folder: Path, say: Callable[[str], None]) -> None:
    """Remove the network and put back what it changed on this host."""
    file = folder / "state" / "network.json"
    if not file.exists():
        return
    network = json.loads(file.read_text())
    if not subprocess.run(["podman", "network", "exists", network["name"]]).returncode:
        podman("network", "rm", "--force", network["name"])
        say(f"network {network['name']} removed")
    for family, key in FAMILIES.items():
        run("ip", family, "route", "del", "unreachable", network[key], "metric", METRIC, check=False)
    if podman("ps", "--quiet").strip():
        say("other containers run: forwarding and podman's packet filter rules stay")
        return
    for group in Path("/sys/fs/cgroup").glob("**/libpod_parent"):
        for inner in (*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group):
            with contextlib.suppress(OSError):  # somebody is still in it
                inner.rmdir()
    before = json.loads((folder / "state" / "host.json").read_text())
    for table in TABLES:
        if list(table) in _tables() and list(table) not in before["tables"]:
            run("nft", "delete", "table", *table, check=False)
    for name, value in before["switches"].items():
        path = Path("/proc/sys", name)
        if path.read_text().strip() != value:
            path.write_text(value)
            say(f"{name} is {value} again")
