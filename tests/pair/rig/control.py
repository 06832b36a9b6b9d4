"""The pair through `rota`: what rotad says on a node, and what an operator does there."""

from __future__ import annotations

import json
from typing import Any

from lib.lab import NODES, Host
from lib.poll import wait_until
from pair.rig import nodes

UNIT = "rota-control.service"
OPERATOR = "anna"
Json = dict[str, Any]


def rota(node: Host, *words: str, timeout: float = 60) -> str:
    """Run the command as an operator who has become root; insist on success."""
    return node.check("env", f"SUDO_USER={OPERATOR}", "rota", *words, timeout=timeout)


def status(node: Host) -> Json:
    """What rotad of `node` says; AssertionError while it does not answer."""
    said = node.run("rota", "status", "--json")
    assert said.out.startswith("{"), f"{node.name}: {said.err or said.out}"
    return dict(json.loads(said.out))


def member(node: Host, service: str, name: str) -> Json:
    """One member as rotad of `node` sees it."""
    found = next(s for s in status(node)["services"] if s["name"] == service)
    return dict(next(m for m in found["members"] if m["name"] == name))


def events(node: Host, **fields: str) -> list[Json]:
    """What the journal of `node` holds of the last ten minutes, with these values."""
    found = [json.loads(line) for line in rota(node, "events", "--since", "10m", "--json").splitlines()]
    return [event for event in found if all(event.get(key) == value for key, value in fields.items())]


def alarms(node: Host) -> set[str]:
    """The keys of the alarms in force."""
    return {alarm["key"] for alarm in status(node)["alarms"]}


def in_step() -> bool:
    """Whether both rotads run, know each other and say the same; AssertionError says what is not."""
    for name in NODES:
        said = status(Host(name))
        for peer in said["peers"]:
            assert peer["reachable"], f"{name}: {peer}"
            assert peer["in_step"], f"{name}: {peer}"
        wrong = {group["name"]: group["state"] for group in said["groups"] if group["state"] != "ok"}
        assert not wrong, f"{name}: {wrong}"
    return True


def all_up() -> bool:
    """Whether both rotads have seen every service up, which takes them a while after a start; AssertionError if not."""
    for name in NODES:
        wrong = {
            service["name"]: service["verdict"] for service in status(Host(name))["services"] if service["verdict"] != "up"
        }
        assert not wrong, f"{name}: {wrong}"
    return True


def drained(service: str = "pacs", name: str = "pacs-b") -> bool:
    """Whether a member is drained in both HAProxys, which is what counts; AssertionError says where it is not."""
    seen = {node.name: node.servers[f"{service}/{name}"]["status"] for node in nodes.snapshots()}
    assert set(seen.values()) == {"DRAIN"}, seen
    return True


def all_ready() -> None:
    """Take every operator's word back."""
    node = Host(NODES[0])
    for service in status(node)["services"]:
        for one in service["members"]:
            if one["intent"] and one["intent"]["state"] != "ready":
                rota(node, "ready", service["name"], one["name"], "--reason", "the test is over")


def main_pid(node: Host, unit: str = UNIT) -> int:
    """The main process of a unit."""
    return int(node.check("systemctl", "show", "--value", "--property=MainPID", unit))


def restarted(node: Host, before: int, unit: str = UNIT, *, within: float = 30) -> None:
    """Wait until a unit runs with another main process than `before`."""
    wait_until(lambda: node.active(unit) and main_pid(node, unit) not in (0, before), within=within, what=f"a new {unit}")
