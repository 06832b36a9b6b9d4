"""The timeline picture: one bar per service, its states by colour, pattern and height, so that it prints without colour."""

from __future__ import annotations

from datetime import datetime, timedelta
from html import escape
from math import ceil

from rota.report.model import Report, Span, State

WIDTH, LABEL, BAR, ROW = 1000, 170, 830, 26
SLICES = 830  # an outage of a second in a month is still one unit wide
WORDS = {
    State.UP: "available",
    State.DEGRADED: "available, not all members serve",
    State.PLANNED: "planned work",
    State.UNKNOWN: "not observed",
    State.DOWN: "outage",
}
_FILL = {
    State.UP: "#2f7d4f",
    State.DEGRADED: "url(#degraded)",
    State.PLANNED: "url(#planned)",
    State.UNKNOWN: "url(#unknown)",
    State.DOWN: "#b3261e",
}
_DEFS = (
    '<defs><pattern id="degraded" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect width="6" height="6" fill="#9ccfae"/><circle cx="3" cy="3" r="1.2" fill="#2f7d4f"/></pattern>'
    '<pattern id="planned" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#c9dcf5"/><rect width="3" height="6" fill="#2a5caa"/></pattern>'
    '<pattern id="unknown" width="6" height="6" patternUnits="userSpaceOnUse"><rect width="6" height="6" fill="#eee"/>'
    '<path d="M0 0L6 6M6 0L0 6" stroke="#777" stroke-width=".8"/></pattern></defs>'
)


def timeline(report: Report) -> str:
    """The picture as an SVG element without any reference to the outside."""
    rows = report.services
    height = 28 + ROW * len(rows) + 10
    title = f"Timeline of {len(rows)} services from {report.begin:%Y-%m-%d} to {report.end:%Y-%m-%d}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t1 t2" xmlns="http://www.w3.org/2000/svg">',
        f'<title id="t1">{escape(title)}</title><desc id="t2">The tables below say the same in words.</desc>{_DEFS}',
        *_axis(report.begin, report.end, 28 + ROW * len(rows)),
    ]
    for number, service in enumerate(rows):
        top = 28 + ROW * number
        parts.append(f'<text x="{LABEL - 8}" y="{top + 14}" text-anchor="end">{escape(_short(service.name))}</text>')
        for left, right, state in slices(service.spans, report.begin, report.end):
            x, wide = LABEL + left * BAR / SLICES, (right - left) * BAR / SLICES
            y, tall = top + 3, 14
            if state is State.DOWN:  # taller, and never too thin to be seen on paper
                x, wide, y, tall = (x - 1, wide + 1.5, top, 20) if wide < 2 else (x, wide, top, 20)
            box = f'x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{tall}" fill="{_FILL[state]}"'
            parts.append(f"<rect {box}><title>{escape(service.name)}: {WORDS[state]}</title></rect>")
    return "".join([*parts, "</svg>"])


def legend() -> str:
    """What the colours and patterns mean."""
    parts = []
    for state, words in WORDS.items():
        box = f'<rect width="18" height="14" fill="{_FILL[state]}"/>'
        swatch = f'<svg class="swatch" viewBox="0 0 18 14" aria-hidden="true">{box}</svg>'
        parts.append(f"<li>{swatch}{words}</li>")
    return f'<ul class="legend">{"".join(parts)}</ul>'


def slices(spans: list[Span], begin: datetime, end: datetime) -> list[tuple[int, int, State]]:
    """The spans on a grid of SLICES: each slice shows the worst state that touches it, so that no outage is too short."""
    total = max((end - begin).total_seconds(), 1e-9)
    grid = [State.UP] * SLICES
    for span in spans:
        left = int((span.begin - begin).total_seconds() / total * SLICES)
        right = max(left + 1, ceil((span.end - begin).total_seconds() / total * SLICES))
        for at in range(min(left, SLICES - 1), min(right, SLICES)):
            grid[at] = max(grid[at], span.state)
    found: list[tuple[int, int, State]] = []
    for at, state in enumerate(grid):
        if found and found[-1][2] is state:
            found[-1] = (found[-1][0], at + 1, state)
        else:
            found.append((at, at + 1, state))
    return found


def _axis(begin: datetime, end: datetime, bottom: int) -> list[str]:
    """Marks at round times, at most a dozen or so."""
    total = (end - begin).total_seconds()
    steps = (600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000)
    step = next((s for s in steps if total / s <= 12), steps[-1])
    local = begin.astimezone()
    at = local.replace(hour=0, minute=0, second=0, microsecond=0)
    parts = []
    while at <= end:
        if at >= begin:
            x = LABEL + (at - begin).total_seconds() / max(total, 1e-9) * BAR
            text = f"{at:%H:%M}" if step < 86_400 and total < 2 * 86_400 else f"{at:%d %b}"
            parts.append(f'<path d="M{x:.1f} 20V{bottom}" stroke="#ccc" stroke-width=".6"/>')
            anchor = "end" if x > LABEL + BAR - 16 else "middle"  # or the last one would be cut off at the edge
            parts.append(f'<text x="{x:.1f}" y="14" text-anchor="{anchor}" class="tick">{text}</text>')
        at += timedelta(seconds=step)
    return parts


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"
