"""Follows the addresses on this node's interfaces: roles, split brain, and who was cut when a role went away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

from rota.control import netlink
from rota.control.pair import Move, holdings
from rota.control.state import PairState, Role

if TYPE_CHECKING:
    from rota.control.core import Core

log = logging.getLogger("rota.addresses")


class Addresses:
    """The follower of one core's addresses."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Look whenever the kernel moves an address, and twice a second; never ends."""
        with netlink.watch() as listener:
            loop = asyncio.get_running_loop()
            loop.add_reader(listener, self._moved, listener)
            try:
                while True:
                    self._news.clear()
                    self.look()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), 0.5)
            finally:
                loop.remove_reader(listener)

    def _moved(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while listener.recv(65536):
                pass
        self._news.set()

    def look(self) -> None:
        """See what this node holds, and what that means for the pair."""
        core = self._core
        before = core.held
        try:
            core.held = holdings(core.site, core.node, core.list_addresses())
            core.board.clear("addresses")
        except netlink.AddressesUnknown as problem:
            core.held = None
            core.board.raise_("addresses", "critical", str(problem))
        if core.held != before:
            core.peers.kick()
        sights = {name: view.held() for name, view in core.peers.views.items()}
        for move in core.pair.update(core.site, core.node, core.held, sights):
            self._tell(move)
        for group in core.site.groups_of(core.node):
            held, whole = (core.held or {}).get(group, 0), len(core.site.addresses_of(group))
            text = f"{core.node} holds {held} of {whole} addresses of group {group}"
            core.board.hold(f"half-active:{group}", 0 < held < whole, "critical", text, after=3.0)

    def _tell(self, move: Move) -> None:
        core = self._core
        log.warning("group=%s %s=%s before=%s", move.group, move.kind, move.after, move.before)
        core.record(move.kind, member=move.group, before=move.before, after=move.after)
        if move.kind == "role" and move.before == Role.ACTIVE:
            core.spawn(self._cut(move.group))
        if move.kind == "pair":
            split, none = move.after == PairState.SPLIT_BRAIN, move.after == PairState.NO_ACTIVE
            core.board.hold(
                f"split-brain:{move.group}", split, "critical", f"both nodes hold addresses of group {move.group}"
            )
            core.board.hold(
                f"no-active:{move.group}", none, "critical", f"no node holds the addresses of group {move.group}"
            )

    async def _cut(self, group: str) -> None:
        """Who was connected through a node that is active no more."""
        core = self._core
        keys = {key for key in core.members() if core.site.services[key[0]].group == group}
        core.record_cut(await core.follower.connected(keys), f"group {group} left {core.node}")
