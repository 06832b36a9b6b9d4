"""The pair: who holds what, what HAProxy says, and what a healthy pair looks like."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import rota.model
from lib.lab import NODES, Host, holders
from lib.poll import wait_until

REPOSITORY = Path(__file__).parents[3]
INVENTORY = REPOSITORY / "inventories" / "lab"
HAPROXY_SOCKET = "/run/haproxy/admin.sock"
_LOOK = f"""systemctl is-active haproxy keepalived rota-control; echo ---; ip -json address show; echo ---
echo show stat | socat -t5 - UNIX-CONNECT:{HAPROXY_SOCKET}"""
# States of a server in `show stat` that are nobody's fault.
WELL = ("UP", "no check")


def site() -> rota.model.Site:
    """Return the lab's model, read as an operator's tool reads it."""
    result = rota.model.load(INVENTORY)
    assert result.site is not None, "\n".join(map(str, result.problems))
    return result.site


SITE = site()


def address_of(service: str) -> str:
    """The first address of a service."""
    return SITE.services[service].addresses[0]


def address6_of(service: str) -> str:
    """Its first IPv6 address."""
    return next(address for address in SITE.services[service].addresses if ":" in address)


def groups() -> dict[str, list[str]]:
    """VRRP group → its addresses."""
    return {name: SITE.addresses_of(name) for name in SITE.site.vrrp.groups}


def active(service: str = "pacs") -> Host:
    """The one node that holds the service's address; waits for it."""
    address = address_of(service)
    found = wait_until(lambda: held_once(address), within=15, what=f"one holder of {address}")
    return Host(found)


def standby(service: str = "pacs") -> Host:
    """The other node."""
    holder = active(service).name
    return Host(next(name for name in NODES if name != holder))


def held_once(address: str) -> str:
    """Return the only holder of `address`; with two holders or none it is an AssertionError."""
    found = holders(address)
    assert len(found) == 1, f"{address} is held by {found or 'nobody'}"
    return found[0]


@dataclass(frozen=True)
class Snapshot:
    """What one node says of itself, in one go: asking piece by piece would cost a second each time."""

    name: str
    units: tuple[str, ...]
    addresses: frozenset[str]
    servers: dict[str, dict[str, str]]


def snapshot(name: str) -> Snapshot:
    """Look at one node; AssertionError if it is off or its HAProxy says nothing."""
    result = Host(name).run("sh", "-c", _LOOK)
    parts = result.out.split("\n---\n")
    assert len(parts) == 3, f"{name} does not answer: {result.err or result.out}"
    links = json.loads(parts[1])
    addresses = frozenset(info["local"] for link in links for info in link["addr_info"])
    return Snapshot(name, tuple(parts[0].split()), addresses, parsed(parts[2]))


def snapshots() -> list[Snapshot]:
    """Look at both nodes at the same time."""
    with ThreadPoolExecutor(max_workers=len(NODES)) as pool:
        return list(pool.map(snapshot, NODES))


def one_holder_each(seen: list[Snapshot] | None = None) -> dict[str, str]:
    """Return VRRP group → its holder; AssertionError unless every address has exactly one, and a group's are together."""
    seen = seen or snapshots()
    result = {}
    for group, addresses in groups().items():
        by_address = {a: [node.name for node in seen if a in node.addresses] for a in addresses}
        wrong = {a: names for a, names in by_address.items() if len(names) != 1}
        assert not wrong, f"not exactly one holder: {wrong}"
        found = {names[0] for names in by_address.values()}
        assert len(found) == 1, f"group {group} is torn: {by_address}"
        result[group] = found.pop()
    return result


def preferred() -> dict[str, str]:
    """VRRP group → the node that has it on a fresh site."""
    return {name: group.nodes[0] for name, group in SITE.site.vrrp.groups.items()}


def hand_over(group: str, word: int) -> None:
    """Write an operator's word on `group` at the node that holds it: 1 = the other node shall have it."""
    Host(one_holder_each()[group]).write(f"/run/rota/track/group-{group}", f"{word}\n")


def place(wanted: dict[str, str]) -> None:
    """Move groups to the nodes given, as an operator would."""
    for group, node in wanted.items():
        holder = one_holder_each()[group]
        if holder == node:
            continue
        file = f"/run/rota/track/group-{group}"
        Host(holder).write(file, "1\n")
        try:
            wait_until(lambda group=group, node=node: one_holder_each()[group] == node, within=10)  # type: ignore[misc]
        finally:
            Host(holder).write(file, "0\n")


def runtime(node: Host, command: str) -> str:
    """Say one command to HAProxy's runtime interface and return the answer."""
    return node.check("socat", "-t5", "-", f"UNIX-CONNECT:{HAPROXY_SOCKET}", stdin=f"{command}\n".encode()).strip()


def parsed(stat: str) -> dict[str, dict[str, str]]:
    """Return backend/server → its row, given what `show stat` says."""
    rows = csv.DictReader(io.StringIO(stat.strip().removeprefix("# ")))
    return {f"{row['pxname']}/{row['svname']}": row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")}


def servers(node: Host) -> dict[str, dict[str, str]]:
    """Return backend/server → its row of `show stat` on `node`."""
    return parsed(runtime(node, "show stat"))


def member_rows(node: Host, service: str, member: str) -> list[dict[str, str]]:
    """Return the rows of `member` in every backend that belongs to `service`."""
    found = [
        row
        for name, row in servers(node).items()
        if name.split("/")[1] == member and name.split("/")[0] in backends(node, service)
    ]
    assert found, f"{node.name} has no server {member} for {service}: {sorted(servers(node))}"
    return found


def backends(node: Host, service: str) -> list[str]:
    """Return the names of the backends of a service: its own name, or that and a suffix after a dot."""
    names = {name.split("/")[0] for name in servers(node)}
    return sorted(name for name in names if name == service or name.startswith(f"{service}."))


def status(node: Host, service: str, member: str) -> str:
    """Return the state of a member in one word and a bit: `UP`, `DOWN`, `DRAIN`, `UP 1/2` …; the worst, with several backends."""
    return min((row["status"] for row in member_rows(node, service, member)), key=lambda word: word == "UP")


def steady() -> bool:
    """Whether the pair is as it should be with nothing broken; AssertionError says what is not."""
    seen = snapshots()
    for node in seen:
        assert node.units == ("active",) * 3, f"haproxy, keepalived and rota-control of {node.name}: {node.units}"
        bad = {name: f"{row['status']} {row['last_chk']}" for name, row in node.servers.items() if row["status"] not in WELL}
        assert not bad, f"{node.name}: {bad}"
    one_holder_each(seen)
    return True
