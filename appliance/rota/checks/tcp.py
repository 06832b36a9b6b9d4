"""TCP: does the port take a connection?"""

from __future__ import annotations

from dataclasses import dataclass

from rota.checks.net import Address, connect
from rota.checks.probe import Probe, run
from rota.checks.verdict import Verdict


@dataclass(frozen=True)
class TcpTarget:
    """A port to connect to."""

    address: Address


async def check(target: TcpTarget, *, deadline: float = 3.0) -> Verdict:
    """Connect, and close again without a byte. `deadline` is in seconds."""

    async def question(probe: Probe) -> str:
        sock = await connect(target.address, probe)
        peer = sock.getpeername()
        sock.close()
        return f"{Address(peer[0], peer[1])} takes connections"

    return await run(question, deadline)
