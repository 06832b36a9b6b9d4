"""A planned failover: which groups could move, and what has to hold before they do."""

from __future__ import annotations

from dataclasses import dataclass

from rota.control.state import PairState, Status
from rota.web.live import Reading
from rota.web.views import words
from rota.web.views.words import Tag


@dataclass(frozen=True)
class Condition:
    """Something that has to hold before the addresses move; `met` None: unknown."""

    text: str
    met: bool | None

    @property
    def tag(self) -> Tag:
        """Yes, no or unknown."""
        return words.UNKNOWN if self.met is None else Tag("Yes", "good") if self.met else Tag("No", "bad")


@dataclass(frozen=True)
class Move:
    """A group that could move."""

    group: str
    addresses: str
    holder: str
    to: str
    conditions: list[Condition]

    @property
    def fit(self) -> bool:
        """Everything that can be seen from here is as it should be."""
        return bool(self.to) and all(c.met for c in self.conditions)


def moves(reading: Reading) -> list[Move]:
    """Every VRRP group with what a move needs, as far as this node sees it. rotad asks the peer itself."""
    status = reading.status
    if status is None:
        return []
    return [_move(group.name, reading, status) for group in status.groups]


def _move(name: str, reading: Reading, status: Status) -> Move:
    group = next(g for g in status.groups if g.name == name)
    nodes = [status.node, *(p.node for p in status.peers)]
    others = [n for n in nodes if n not in group.holders]
    known = reading.known
    conditions = [
        Condition(
            "Exactly one node holds the addresses",
            (group.state is PairState.OK and len(group.holders) == 1) if known else None,
        )
    ]
    for peer in status.peers:
        conditions += [
            Condition(f"{peer.node} answers over mutual TLS", peer.reachable if known else None),
            Condition(
                f"{peer.node} has the same version, model and intents", peer.in_step if known and peer.reachable else None
            ),
        ]
    if status.node not in group.holders:
        conditions.append(Condition(f"HAProxy on {status.node} answers", status.haproxy_problem is None if known else None))
    return Move(
        name, " ".join(group.addresses), words.listed(group.holders) or "nobody", others[0] if others else "", conditions
    )
