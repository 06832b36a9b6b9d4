"""The picture of a service: callers, its address, the nodes, its members. Style comes from the style sheet; words say it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from rota.control.state import GroupState, MemberState, ServiceState, Status, Verdict
from rota.web.views import words

MOST = 12  # members that are drawn; the table has all of them
WIDE, TALL, GAP = 190, 54, 16
COLUMNS = (0, 236, 472, 708)


def picture(one: ServiceState, status: Status) -> str:
    """An SVG element; nothing in it is fetched, and its style is in the style sheet."""
    drawn = one.members[:MOST]
    group = next((g for g in status.groups if g.name == one.group), None)
    nodes = [status.node, *(peer.node for peer in status.peers)]
    rows = max(len(drawn), len(nodes), 1)
    height, below = rows * (TALL + GAP), 22 if len(one.members) > MOST else 4
    parts = [
        f'<svg class="topology" viewBox="0 0 {COLUMNS[3] + WIDE} {height + below}" role="img" aria-labelledby="top1 top2">',
        f'<title id="top1">How callers of {escape(one.name)} reach its members</title>',
        f'<desc id="top2">{escape(_said(one))}</desc>',
    ]
    places = words.places(one)
    middle = height / 2
    parts += _box(COLUMNS[0], middle, "Callers", words.profile(one.profile), words.count(_open(one), "connection"), "plain")
    where = places[0] if len(places) == 1 else f"{_short(places[0], 22)} +{len(places) - 1}"
    parts += _box(COLUMNS[1], middle, one.name, where, f"group {one.group}", "plain")
    parts.append(_link(COLUMNS[0] + WIDE, middle, COLUMNS[1], middle, "good"))
    for index, node in enumerate(nodes):
        y = _row(index, len(nodes), height)
        holds = group is not None and node in group.holders
        parts.append(_link(COLUMNS[1] + WIDE, middle, COLUMNS[2], y, "good" if holds else "waits"))
        parts += _box(COLUMNS[2], y, node, _role(node, group, status), "", "good" if holds else "plain")
        if holds:
            for number, member in enumerate(drawn):
                line = _row(number, len(drawn), height)
                parts.append(_link(COLUMNS[2] + WIDE, y, COLUMNS[3], line, _line(member)))
    for number, member in enumerate(drawn):
        state = f"{words.verdict(member.verdict).text}, {words.work(member)}"
        y = _row(number, len(drawn), height)
        parts += _box(COLUMNS[3], y, member.name, words.place(member.address, member.port), state, _colour(member))
    if len(one.members) > MOST:
        parts.append(f'<text x="{COLUMNS[3]}" y="{height + 16}">and {len(one.members) - MOST} more</text>')
    return "".join([*parts, "</svg>"])


def _said(one: ServiceState) -> str:
    members = ", ".join(f"{m.name} {words.verdict(m.verdict).text.lower()} {words.work(m)}" for m in one.members[:MOST])
    return f"Callers call {' '.join(words.places(one))}. Members: {members}."


def _open(one: ServiceState) -> int:
    return sum(member.associations for member in one.members)


def _row(index: int, of: int, height: float) -> float:
    return height * (index + 0.5) / of


def _role(node: str, group: GroupState | None, status: Status) -> str:
    if group is not None and node in group.holders:
        return "active"
    silent = any(peer.node == node and not peer.reachable for peer in status.peers)
    return "does not answer" if silent else "stands by"


def _colour(member: MemberState) -> str:
    if words.taken_out(member.intent):
        return "warn"
    return {Verdict.UP: "good", Verdict.UNKNOWN: "unknown"}.get(member.verdict, "bad")


def _line(member: MemberState) -> str:
    if member.in_use:
        return "waits" if member.backup else "good"
    return "bad" if member.verdict in (Verdict.DOWN, Verdict.CANNOT_STORE) else "waits"


def _link(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    middle = (x1 + x2) / 2
    return f'<path class="link {style}" d="M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"/>'


def _box(x: float, y: float, name: str, second: str, third: str, style: str) -> Iterator[str]:
    top = y - TALL / 2
    yield f'<rect class="box {style}" x="{x + 1:g}" y="{top:g}" width="{WIDE - 2}" height="{TALL}" rx="5"/>'
    for number, text in enumerate(filter(None, (name, second, third))):
        style = "name" if number == 0 else "more"
        yield f'<text class="{style}" x="{x + 12:g}" y="{top + 17 + 15 * number:g}">{escape(_short(text))}</text>'


def _short(text: str, most: int = 25) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
