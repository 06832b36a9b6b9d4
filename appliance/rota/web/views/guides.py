"""The guided flows: the runbooks step by step, each step judged by what is true now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rota.control.state import Status, Verdict
from rota.web.live import Reading
from rota.web.views import words
from rota.web.views.failover import Move
from rota.web.views.upkeep import Place, Wait


@dataclass(frozen=True)
class Step:
    """One step. `state` is done, now, next or stop; `act` names the button that belongs to it."""

    title: str
    state: str
    text: list[str] = field(default_factory=list)
    act: str = ""

    @property
    def word(self) -> str:
        """Its state for people."""
        return {"done": "Done", "now": "Now", "next": "Later", "stop": "Stop"}[self.state]


def patch_server(name: str, here: Sequence[Place], wait: Wait | None) -> list[Step]:
    """Runbook *Take a PACS server out for patching*. `wait` None: it is not taken out."""
    out = wait is not None and not wait.ended
    alone = [p.service.name for p in here if not any(m.in_use for m in p.service.members if m.name != name)]
    carried = [
        f"{p.service.name}: {words.listed([m.name for m in p.service.members if m.name != name and m.in_use]) or 'nobody'}"
        for p in here
    ]
    first = Step("See that the others can carry the work", "stop" if alone and not out else "done", carried)
    if alone and not out:
        stop = f"Nobody else serves {words.listed(alone)}. Mend another member first."
        first = Step(first.title, "stop", [*carried, stop])
    up = all(p.member.verdict is Verdict.UP for p in here)
    verdicts = [f"{p.service.name}: {words.verdict(p.member.verdict).text}. {p.member.reason}".strip() for p in here]
    everywhere = words.listed([p.service.name for p in here], 6)
    safe = out and wait is not None and wait.safe
    drain = "done" if safe else "now" if not alone or out else "next"
    return [
        first,
        Step(
            f"Send {name} no new work, and wait for the last caller", drain,
            [wait.title + ".", wait.until] if out and wait else ["It gets no new work anywhere; what runs may end."],
            "wait" if out else "drain",
        ),
        Step(
            "Patch it", "now" if safe else "next",
            ["Patch it, reboot it. Rota shows it as down meanwhile, and nobody is sent to it. The alarm is expected."],
        ),
        Step("See that it works before anybody is sent to it", ("now" if safe else "next"), verdicts if out else []),
        Step(
            "Bring it back", "now" if safe and up else "next",
            [] if not out or up else ["Its check does not say up: keep it out until it does."], "ready" if out else "",
        ),
        Step("See that it gets work", "next", [f"On the status page {name} takes work in {everywhere}."]),
    ]  # fmt: skip


def patch_node(node: str, moves: Sequence[Move], reading: Reading) -> list[Step]:
    """Taking this node out: hand over, see that it moved, patch, see that the pair is whole again."""
    status = reading.status
    if status is None or not reading.known:
        return [Step("See how the pair stands", "stop", [f"rotad on {node} does not answer: {reading.problem}"])]
    fit = all(move.fit for move in moves)
    held = [move.group for move in moves if node in move.holder.split()]
    lacks = [c.text for move in moves for c in move.conditions if not c.met]
    first = Step(
        "See that the other node is fit", "done" if fit else "stop",
        [f"Not so: {text}" for text in dict.fromkeys(lacks)] or ["All that can be seen from here is as it should be."],
    )  # fmt: skip
    who = [f"{p.node} {'answers and is in step' if p.in_step else 'is not in step'}." for p in status.peers]
    return [
        first,
        Step(
            f"Hand the addresses of {node} to the other node", ("now" if fit else "next") if held else "done",
            [f"{node} holds {words.listed(held)}."] if held else [f"{node} holds no addresses."], "failover" if held else "",
        ),
        Step(
            f"Patch {node} and reboot it", "next" if held or not fit else "now",
            ["On its console: apt-get update && apt-get upgrade, then systemctl reboot.",
             "This page goes away with the node: go on from the page of the other node."],
        ),
        Step("See that the pair is whole again", "next", who),
        Step(
            "Hand back, if you want this node to serve again", "next", ["Nothing goes back by itself."],
            "" if held else "failover",
        ),
    ]  # fmt: skip


def whole(status: Status) -> bool:
    """Whether every peer answers and is in step."""
    return all(peer.reachable and peer.in_step for peer in status.peers)
