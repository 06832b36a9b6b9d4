"""Planned failover: ask keepalived to hand over through its track file, and do not believe it before the peer holds.

The word of a group, `group-NAME`, lowers this node's priority below everybody's while it is 1: the peer takes over, and
then this node lets go (docs/decisions/0004). It goes back to 0 as soon as the peer holds the addresses. Nothing is taken
back by itself, because a holder is above every node that does not hold, which `role-NAME` says: keepalived's notify script
writes it, and rotad puts it right when the script could not. If rotad dies during a move, a note beside the word lets its
next start put 0 back.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rota.control import atomic
from rota.control.controller import Refused
from rota.control.exchange import FailoverErrand, PeerView
from rota.control.netlink import AddressesUnknown
from rota.control.pair import holdings
from rota.control.peer import PeerFailed
from rota.control.state import FailoverRequest, Role

if TYPE_CHECKING:
    from rota.control.core import Core

log = logging.getLogger("rota.failover")

WITHIN = 6.0  # seconds for the peer to hold everything; a move takes three adverts and a little
SAID_WITHIN = 10.0  # seconds more for its rotad to say so, once this node has let go: a busy one may be late
ROLE_WITHIN = 1.0  # seconds for keepalived's own script to say the role
STAYS = 1.0  # seconds for which it must hold after the file is back at 0


def number_in(path: Path) -> int | None:
    """The number in a track file; None when there is none to read, which keepalived takes for 0."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Failover:
    """The moves of one core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._moving = asyncio.Lock()
        self._wrong_since: dict[str, float] = {}

    def _role(self, group: str) -> Path:
        return self._core.config.track_directory / f"role-{group}"

    @property
    def _within(self) -> float:
        return max(WITHIN, self._core.site.site.vrrp.advert_interval / 1000 * 5)

    def _file(self, group: str) -> Path:
        return self._core.config.track_directory / f"group-{group}"

    def _note(self, group: str) -> Path:
        return self._core.config.run_directory / f"handing-over-{group}"

    # --- fitness

    def unfit(self) -> dict[str, str]:
        """For each group of this node that it could not take over: why."""
        core = self._core
        general = self._generally_unfit()
        found = {}
        for group in core.site.groups_of(core.node):
            held_back = number_in(self._file(group))
            if general:
                found[group] = general
            elif held_back:
                found[group] = f"{self._file(group)} keeps it from the group"
        return found

    def _generally_unfit(self) -> str | None:
        core = self._core
        if core.haproxy is None or core.haproxy_problem:
            return "its HAProxy does not answer"
        if number_in(core.config.track_directory / "haproxy"):
            return "its HAProxy is marked as not serving"
        try:
            pid = int(core.config.keepalived_pid.read_text())
        except (OSError, ValueError):
            return "its keepalived does not run"
        return None if Path(f"/proc/{pid}").exists() else "its keepalived does not run"

    def down(self) -> list[str]:
        """Services of which this node sees no member that serves."""
        core = self._core
        return [n for n, s in core.services().items() if not any(core.follower.serving((n, m)) for m in s.members)]

    def _obstacle(self, view: PeerView | None, group: str) -> str | None:
        """Why a peer must not get a group now."""
        core = self._core
        if view is None or not view.reachable or view.hello is None:
            return f"{view.node if view else 'the peer'} does not answer: {view.problem if view else 'unknown'}"
        hello = view.hello
        if group in hello.unfit:
            return f"{view.node}: {hello.unfit[group]}"
        if differences := view.differences(core.version, core.model_hash):
            return differences[0]
        if view.held() is None:
            return f"{view.node} cannot tell what it holds"
        ours = {name for name, service in core.services().items() if service.group == group} - set(self.down())
        if worse := sorted(ours & set(hello.down)):
            return f"{view.node} sees no serving member of {', '.join(worse)}; this node does"
        return None

    # --- acts

    async def request(self, request: FailoverRequest, person: str) -> list[str]:
        """Hand over here, or let the active node do it."""
        core = self._core
        known = core.site.groups_of(core.node)
        if request.group is not None and request.group not in known:
            raise Refused("unknown-group", f"{core.node} has no group {request.group}", 404)
        if any(core.pair.role(g) is Role.ACTIVE for g in ([request.group] if request.group else known)):
            return await self.hand_over(request, person)
        for name, view in core.peers.views.items():
            held = view.held() or {}
            if view.reachable and any(held.get(g) for g in ([request.group] if request.group else held)):
                try:
                    return await core.peers.ask_failover(name, FailoverErrand(request=request, person=person))
                except PeerFailed as problem:
                    raise Refused("peer-unfit", str(problem)) from None
        raise Refused("not-active", f"{core.node} holds nothing to hand over, and no peer that answers does")

    async def hand_over(self, request: FailoverRequest, person: str) -> list[str]:
        """Hand over what this node holds; raises Refused."""
        core = self._core
        async with self._moving:
            await core.peers.tell(within=2.0)
            self._look()
            groups = [g for g in core.site.groups_of(core.node) if core.held and core.held.get(g)]
            if request.group is not None:
                if request.group not in groups:
                    raise Refused("not-active", f"{core.node} does not hold group {request.group}")
                groups = [request.group]
            if not groups:
                raise Refused("not-active", f"{core.node} holds no group")
            chosen = {group: self._choose(group, request.force) for group in groups}
            for group in groups:
                await self._move(group, chosen[group], request.reason, person)
        return groups

    def _choose(self, group: str, force: bool) -> str:
        core = self._core
        others = [name for name in core.site.site.vrrp.groups[group].nodes if name != core.node]
        obstacles = {name: self._obstacle(core.peers.views.get(name), group) for name in others}
        for name, obstacle in obstacles.items():
            if obstacle is None:
                return name
        if not others:
            raise Refused("peer-unfit", f"group {group} has no other node")
        if not force:
            raise Refused("peer-unfit", f"group {group} stays: {'; '.join(str(o) for o in obstacles.values())}")
        return others[0]

    async def _move(self, group: str, peer: str, reason: str, person: str) -> None:
        core = self._core
        log.info("group=%s hands over to %s", group, peer)
        try:
            atomic.write(self._note(group), f"{peer}\n", durable=False)
            atomic.write(self._file(group), "1\n", mode=0o644, durable=False)
            moved = await self._wait(group, peer)
        except OSError as error:
            raise Refused("move-failed", f"the track file of {group} cannot be written: {error.strerror}") from None
        finally:
            self.restore(group)
        if moved:
            moved = await self._remains(group)
        if not moved:
            after = core.node
            text = f"{peer} did not take group {group} within {self._within:g} s; {after} goes on holding it"
            if core.held and not core.held.get(group):
                after, waited = "unknown", self._within + SAID_WITHIN
                text = f"{core.node} has let group {group} go, but {peer} has not said within {waited:g} s that it holds it"
            reason = f"failed: {text}"[:200]
            core.record("failover", member=group, before=core.node, after=after, reason=reason, person=person)
            raise Refused("move-failed", text)
        core.record("failover", member=group, before=core.node, after=peer, reason=reason, person=person)

    def restore(self, group: str) -> None:
        """Take the word back: the move is over, however it ended."""
        try:
            atomic.write(self._file(group), "0\n", mode=0o644, durable=False)
            self._note(group).unlink(missing_ok=True)
        except OSError as error:
            text = f"{self._file(group)} cannot be put back to 0: {error.strerror}"
            self._core.board.raise_(f"group-held:{group}", "critical", text)

    async def _wait(self, group: str, peer: str) -> bool:
        core = self._core
        began, patience = core.clock.steady(), self._within
        while core.clock.steady() - began < patience:
            self._look()
            await core.peers.exchange(peer) if peer in core.peers.views else None
            view = core.peers.views.get(peer)
            theirs = (view.held() or {}).get(group, 0) if view else 0
            ours = (core.held or {}).get(group, 0)
            if ours == 0 and theirs == len(core.site.addresses_of(group)):
                return True
            patience = self._within + (0 if ours else SAID_WITHIN)
            await asyncio.sleep(0.05)
        return False

    async def _remains(self, group: str) -> bool:
        """The file is back at 0: this node must not take the group back."""
        end = self._core.clock.steady() + STAYS
        while self._core.clock.steady() < end:
            self._look()
            if (self._core.held or {}).get(group, 0):
                return False
            await asyncio.sleep(0.1)
        return True

    def _look(self) -> None:
        core = self._core
        try:
            core.held = holdings(core.site, core.node, core.list_addresses())
        except AddressesUnknown:
            core.held = None

    def recover(self) -> None:
        """At start: end what a rotad that died in the middle of a move has left."""
        core = self._core
        for group in core.site.groups_of(core.node):
            if self._note(group).exists():
                self.restore(group)
                core.record(
                    "failover", member=group, after=core.node, reason="rotad died during a move; its word is taken back"
                )

    def watch(self) -> None:
        """Put roles right; a word that somebody else keeps away from 0 is an alarm: this node has lost its rank."""
        for group in self._core.site.groups_of(self._core.node):
            self._mend_role(group)
            held_back = bool(number_in(self._file(group))) and not self._moving.locked()
            text = f"{self._file(group)} is not 0: {self._core.node} leaves group {group} to any other node"
            self._core.board.hold(f"group-held:{group}", held_back, "critical", text, after=10.0)

    def _mend_role(self, group: str) -> None:
        """keepalived's script runs beside it and can fail, or be overtaken by the next one."""
        core = self._core
        if core.held is None:
            return
        right = 0 if core.held.get(group) else 1
        if number_in(self._role(group)) == right:
            self._wrong_since.pop(group, None)
            return
        now = core.clock.steady()
        if now - self._wrong_since.setdefault(group, now) < ROLE_WITHIN:
            return
        try:
            atomic.write(self._role(group), f"{right}\n", mode=0o644, durable=False)
            log.warning("group=%s role file put right: %d", group, right)
            core.board.clear(f"group-role:{group}")
        except OSError as error:
            text = f"{self._role(group)} cannot be written: {error.strerror}; a node that comes back may take group {group}"
            core.board.raise_(f"group-role:{group}", "critical", text)
