"""Who holds what: roles by the addresses on interfaces, and how a VRRP group stands over both nodes. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rota.control.clock import Clock
from rota.control.state import GroupState, PairState, Role
from rota.model import Site


def holdings(site: Site, node: str, addresses: Iterable[str]) -> dict[str, int]:
    """For each group of `node`: how many of its service addresses are among `addresses`."""
    here = set(addresses)
    return {group: sum(a in here for a in site.addresses_of(group)) for group in site.groups_of(node)}


def role_of(held: int | None) -> Role:
    """A node with any of the addresses is active; that it holds only some of them is told apart elsewhere."""
    if held is None:
        return Role.UNKNOWN
    return Role.ACTIVE if held else Role.STANDBY


def judge(own: int | None, peers: Mapping[str, int | None]) -> PairState:
    """How a group stands. `peers` maps the other nodes to what they hold; None is a peer that was not heard."""
    if not peers:
        return PairState.ALONE if own else PairState.NO_ACTIVE
    if own is None or any(held is None for held in peers.values()):
        return PairState.PEER_UNKNOWN
    holders = sum(bool(held) for held in (own, *peers.values()))
    return {0: PairState.NO_ACTIVE, 1: PairState.OK}.get(holders, PairState.SPLIT_BRAIN)


@dataclass(frozen=True)
class Move:
    """A change worth telling: of this node's role, or of the pair."""

    group: str
    kind: str  # role | pair
    before: str
    after: str


class PairWatch:
    """Keeps the standing of this node's groups.

    A move takes a moment in which both nodes, or neither, hold the address: a pair state other than `ok` is told when it
    has lasted `settle` seconds.
    """

    def __init__(self, clock: Clock, *, settle: float = 2.5) -> None:
        self._clock = clock
        self._settle = settle
        self._roles: dict[str, tuple[Role, datetime | None]] = {}
        self._states: dict[str, PairState] = {}
        self._pending: dict[str, tuple[PairState, float]] = {}

    def update(
        self, site: Site, node: str, own: Mapping[str, int] | None, peers: Mapping[str, Mapping[str, int] | None]
    ) -> list[Move]:
        """Take what is held now; `own` is None when the kernel did not say. Returns what has changed."""
        moves = []
        groups = site.groups_of(node)
        for name, group in groups.items():
            held = None if own is None else own.get(name, 0)
            role = role_of(held)
            before = self._roles.get(name, (None, None))[0]
            if before is not role:
                self._roles[name] = (role, self._clock.now() if before else None)
                if before is not None:
                    moves.append(Move(name, "role", before, role))
            others = {other: _held(peers.get(other), name) for other in group.nodes if other != node}
            moves += self._settled(name, judge(held, others))
        for name in self._roles.keys() - groups.keys():
            self._roles.pop(name)
            self._states.pop(name, None)
        return moves

    def _settled(self, name: str, state: PairState) -> list[Move]:
        now = self._clock.steady()
        before = self._states.get(name)
        if state is before:
            self._pending.pop(name, None)
            return []
        since = self._pending.get(name)
        if since is None or since[0] is not state:
            since = self._pending[name] = (state, now)
        good = state in (PairState.OK, PairState.ALONE)
        if not good and now - since[1] < self._settle:
            return []
        del self._pending[name]
        self._states[name] = state
        return [Move(name, "pair", before or PairState.PEER_UNKNOWN, state)] if before or not good else []

    def role(self, group: str) -> Role:
        """This node's role in a group."""
        return self._roles.get(group, (Role.UNKNOWN, None))[0]

    def state(self, group: str) -> PairState:
        """How the pair stands, as told last."""
        return self._states.get(group, PairState.PEER_UNKNOWN)

    def groups(
        self, site: Site, node: str, own: Mapping[str, int] | None, peers: Mapping[str, Mapping[str, int] | None]
    ) -> list[GroupState]:
        """The groups for a status."""
        result = []
        for name, group in site.groups_of(node).items():
            role, since = self._roles.get(name, (Role.UNKNOWN, None))
            sights = {other: own if other == node else peers.get(other) for other in group.nodes}
            holders = [other for other in group.nodes if _held(sights[other], name)]
            result.append(
                GroupState(
                    name=name,
                    role=role,
                    since=since,
                    holders=holders,
                    state=self.state(name),
                    addresses=site.addresses_of(name),
                )
            )
        return result


def _held(sight: Mapping[str, int] | None, group: str) -> int | None:
    return None if sight is None else sight.get(group, 0)
