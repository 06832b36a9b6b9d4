"""What a node says of its layer 4 services out of its kernel's IPVS table."""

from __future__ import annotations

from typing import Any

import pytest
from rota import verify_layer4
from rota.checks.verdict import Reason
from rota.control.ipvs import IpvsUnknown, Row, Table
from rota.keepalived.ipvs import Destination, Virtual
from rota.model import parse

MEMBERS = {"a": {"address": "198.51.100.21"}, "b": {"address": "198.51.100.22"}}
TCP, UDP = (Virtual(4, 0, protocol, "198.51.100.100", 514) for protocol in ("tcp", "udp"))
A, B, F = (Destination(f"198.51.100.{number}", 514) for number in (21, 22, 23))


def kernel(**more: Any) -> verify_layer4.Kernel:
    result = parse(
        {
            "site": {
                "name": "test",
                "nodes": {"lb1": {"address": "198.51.100.11"}},
                "networks": {"clinical": {"prefixes": ["198.51.100.0/24"], "interface": "eth0"}},
            },
            "services": {"one": {"profile": "tcp", "mode": "l4-dr", "addresses": ["198.51.100.100"], "ports": [514],
                                 "members": MEMBERS, **more}},
        }
    )  # fmt: skip
    assert result.site is not None, list(map(str, result.problems))
    return verify_layer4.target(result.site, "lb1", "one", "198.51.100.100", 514)


async def said(table: Table, **more: Any) -> tuple[Reason, str]:
    verdict = await verify_layer4.check(kernel(**more), read=lambda: table)
    return verdict.reason, verdict.detail


def table(weights: dict[Destination, int], virtual: Virtual = TCP) -> Table:
    return {virtual: {where: Row(weight, 0, 0) for where, weight in weights.items()}}


async def test_it_names_who_gets_callers() -> None:
    assert await said(table({A: 1, B: 1})) == (Reason.OK, "IPVS sends to a, b")
    assert await said(table({A: 1, B: 0})) == (Reason.OK, "IPVS sends to a")
    assert await said(table({F: 1})) == (Reason.OK, "IPVS sends to the fallback 198.51.100.23")


@pytest.mark.parametrize("weights", [{}, {A: 0, B: 0}])
async def test_nobody_to_send_to_is_down(weights: dict[Destination, int]) -> None:
    assert await said(table(weights)) == (Reason.CLOSED, "this node's IPVS sends tcp 198.51.100.100 514 to nobody")


async def test_each_protocol_has_to_be_there() -> None:
    both = {"profile": "syslog", "protocol": "both", "check": {"port": 514}}
    assert (await said(table({A: 1}), **both))[0] is Reason.REFUSED
    assert (await said({**table({A: 1}), **table({B: 1}, UDP)}, **both))[0] is Reason.OK


async def test_ports_that_are_one_are_found_by_their_mark() -> None:
    (virtual,) = kernel(ports=[514, 515], ports_as_one=True, persistence="source").virtuals
    assert (virtual.mark > 0, virtual.address) == (True, "")


async def test_a_kernel_without_ipvs_is_down() -> None:
    def read() -> Table:
        raise IpvsUnknown("this kernel has no ip_vs")

    verdict = await verify_layer4.check(kernel(), read=read)
    assert (verdict.reason, verdict.detail) == (Reason.UNREACHABLE, "this kernel has no ip_vs")
