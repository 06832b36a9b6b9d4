"""What a node can say of its own layer 4 services: it asks its kernel.

A node's own call to what it balances gets no connection, in any mode (decision 0007). So the holder tells what IPVS has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from rota.checks.verdict import Failure, Reason, Verdict
from rota.control import ipvs
from rota.keepalived.ipvs import Virtual, virtuals
from rota.model.fields import family
from rota.model.schema import Site


@dataclass(frozen=True)
class Kernel:
    """The virtual servers of one service at one address and port, and who its members are (address → name)."""

    virtuals: tuple[Virtual, ...]
    members: dict[str, str]


def target(site: Site, node: str, service: str, address: str, port: int) -> Kernel:
    """What the kernel of `node` has to know of a service at an address and port."""
    found = tuple(
        virtual
        for name, _, virtual in virtuals(site, node)
        if name == service
        and (virtual.family == family(address) if virtual.mark else (virtual.address, virtual.port) == (address, port))
    )
    return Kernel(found, {member.address: name for name, member in site.services[service].members.items()})


async def check(asked: Kernel, *, read: Callable[[], ipvs.Table] = ipvs.read) -> Verdict:
    """Up when every virtual server is there and sends to somebody. The kernel answers at once or not at all (1 s)."""
    began = time.monotonic()
    try:
        table = await asyncio.to_thread(read)
        reason, detail = Reason.OK, ", ".join(dict.fromkeys(_said(asked, virtual, table) for virtual in asked.virtuals))
    except ipvs.IpvsUnknown as problem:
        reason, detail = Reason.UNREACHABLE, str(problem)
    except Failure as failure:
        reason, detail = failure.reason, failure.detail
    return Verdict(reason, detail, (time.monotonic() - began) * 1000)


def _said(asked: Kernel, virtual: Virtual, table: ipvs.Table) -> str:
    what = f"{virtual.protocol} {virtual.head}".strip()
    rows = table.get(virtual)
    if rows is None:
        raise Failure(Reason.REFUSED, f"this node's IPVS does not know {what}")
    used = [destination.address for destination, row in rows.items() if row.weight > 0]
    if not used:
        raise Failure(Reason.CLOSED, f"this node's IPVS sends {what} to nobody")
    return f"IPVS sends to {', '.join(asked.members.get(address, f'the fallback {address}') for address in used)}"
