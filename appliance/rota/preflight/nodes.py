"""The same look from every node: here, and through the peers' rotad over their mutual TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rota.control.config import BadConfig, Config, load
from rota.control.controller import Refused
from rota.control.peer import PeerClient, PeerFailed, client_context
from rota.model import Site
from rota.preflight.findings import Row
from rota.preflight.look import look
from rota.said import Said

_DEADLINE = 120.0  # many members, some of which do not answer


def own_config(path: Path) -> Config | None:
    """Rotad's configuration, or None on a machine that has none: there is no peer to ask then."""
    if not path.exists():
        return None
    try:
        return load(path)
    except BadConfig as problem:
        raise Said(str(problem)) from None


async def every_node(
    site: Site, node: str, service: str | None, files: Path, config: Config | None
) -> tuple[list[Row], dict[str, str]]:
    """Rows of this node and of its peers, and why a peer could not be asked."""
    peers = site.peers_of(node) if config is not None else []
    asking = [asyncio.create_task(_ask(site, peer, service, config)) for peer in peers if config is not None]
    rows, missing = await look(site, node, service, files), {}
    for peer, task in zip(peers, asking, strict=True):
        answer = await task
        if isinstance(answer, str):
            missing[peer] = answer
        else:
            rows += answer
    return rows, missing


async def _ask(site: Site, peer: str, service: str | None, config: Config) -> list[Row] | str:
    try:
        context = client_context(config.peer)
    except (OSError, ValueError) as error:
        return f"{config.peer.key}: {getattr(error, 'strerror', None) or error}"
    address = config.peer.addresses.get(peer, (site.site.nodes[peer].addresses[0], config.peer.port))
    client = PeerClient(peer, address, context)
    try:
        return await client.preflight(service, deadline=_DEADLINE)
    except (PeerFailed, Refused) as problem:
        return str(problem)
    finally:
        await client.close()
