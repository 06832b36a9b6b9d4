"""The report as one HTML file: it fetches nothing, prints on A4 and reads aloud."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape

from rota.report.model import Report, percent
from rota.report.svg import legend, timeline
from rota.report.words import duration, moment, summary

Cell = str | tuple[str, str]  # text, or text and the class of its cell
_STYLE = """
:root{color-scheme:light;font:15px/1.45 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;color:#1d2530}
body{max-width:1060px;margin:2rem auto;padding:0 1.25rem}
h1{font-size:1.7rem;margin:0 0 .2rem}
h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:2px solid #1d2530;padding-bottom:.2rem}
p.period{margin:0;color:#46505e}p.summary{font-size:1.05rem;margin:1rem 0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:#46505e;padding:.1rem 0 .4rem}
th,td{text-align:left;padding:.32rem .7rem .32rem 0;border-bottom:1px solid #d7dce3;vertical-align:top}
thead th{border-bottom:1.5px solid #8a94a3;font-size:.86rem;color:#46505e}
td.n,th.n{text-align:right;white-space:nowrap;padding-right:1.5rem}
td.bad{color:#b3261e;font-weight:600}td.unsure{color:#7a5200;font-weight:600}
svg text{font:12px system-ui,"DejaVu Sans",sans-serif;fill:#1d2530}svg text.tick{fill:#46505e;font-size:11px}
ul.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.3rem;padding:0;margin:.4rem 0 0;font-size:.9rem}
svg.swatch{width:18px;height:14px;margin-right:.4rem;vertical-align:-2px;border:1px solid #8a94a3}
.none{color:#46505e}footer{margin-top:2.5rem;color:#46505e;font-size:.88rem;border-top:1px solid #d7dce3;padding-top:.6rem}
@page{size:A4;margin:14mm}
@media print{:root{font-size:10.5px}body{margin:0;max-width:none;padding:0}h2{break-after:avoid}tr,svg{break-inside:avoid}
thead{display:table-header-group}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def html(report: Report) -> str:
    """The whole document."""
    name = escape(title(report))
    return (
        '<!DOCTYPE html><html lang="en-GB"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{name}</title><style>{_STYLE}</style></head><body><main><h1>{name}</h1>{body(report)}</main></body></html>\n"
    )


def title(report: Report) -> str:
    """What the document is called."""
    return f"Availability {report.begin.astimezone():%Y-%m-%d} to {report.end.astimezone():%Y-%m-%d}"


def body(report: Report) -> str:
    """The document below its heading, without style of its own: the web app has it on a page."""
    return "".join(
        [
            f'<p class="period">{moment(report.begin)} to {moment(report.end)}, local time of the node;'
            f" made on {escape(report.node)} at {moment(report.made)}</p>",
            f'<p class="summary">{escape(summary(report))}</p>',
            f"<h2>Timeline</h2>{timeline(report)}{legend()}",
            _services(report),
            _outages(report),
            _failovers(report),
            _cuts(report),
            _work(report),
            _flaps(report),
            "<h2>Certificates</h2>" + (_list(report.certificates) or _none("No certificate is about to expire.")),
            f"<footer>{_method()}</footer>",
        ]
    )


def _services(report: Report) -> str:
    rows: list[list[Cell]] = []
    for one in report.services:
        share = one.availability
        style = "n unsure" if share is None else "n bad" if one.down_s else "n"
        rows.append(
            [
                one.name, one.department, (percent(share), style), (str(one.outages), "n"), (duration(one.down_s), "n"),
                (duration(one.longest_s), "n"), (duration(one.planned_s), "n"), (duration(one.degraded_s), "n"),
                (duration(one.unknown_s), "n unsure" if one.unknown_s else "n"),
            ]
        )  # fmt: skip
    heads = ["Service", "Department", "Availability", "Outages", "Down", "Longest", "Planned", "Reduced", "Not observed"]
    note = "Availability is the share of the observed time, planned work apart, in which at least one member served."
    return _table("Services", note, heads, rows, numeric=2)


def _outages(report: Report) -> str:
    rows: list[list[Cell]] = [
        [o.service, _at(o.begin), (duration(o.seconds) + (" and on" if o.open else ""), "n"),
         ("planned", "") if o.planned else ("outage", "bad"), o.cause]
        for o in report.outages
    ]  # fmt: skip
    heads = ["Service", "From", "Length", "Kind", "Cause"]
    return _table("Outages", "Times in which no member served.", heads, rows, none="There was none.", right=(2,))


def _failovers(report: Report) -> str:
    rows: list[list[Cell]] = []
    for one in report.failovers:
        who = f"planned by {one.person}" if one.planned else ("unplanned", "bad")
        cut = f"{len(one.cut)}" if one.cut else "none known"
        rows.append([_at(one.at), one.group, f"{one.before} → {one.after}", who, one.reason, cut])
    heads = ["At", "Group", "Nodes", "Kind", "Reason", "Senders cut"]
    text = _table("Failovers", "The addresses went to another node.", heads, rows, none="There was none.")
    if report.incidents:
        rows = [
            [_at(i.begin), duration((i.end - i.begin).total_seconds()) if i.end else "goes on", i.group, (i.state, "bad")]
            for i in report.incidents
        ]
        text += _table(
            "The pair", "Both nodes held the addresses, or neither did.", ["From", "Length", "Group", "What"], rows
        )
    return text


def _cuts(report: Report) -> str:
    cuts = sorted([*(cut for f in report.failovers for cut in f.cut), *report.cut], key=lambda cut: cut.at)
    rows: list[list[Cell]] = [[_at(c.at), c.service, c.member, c.sender, c.note] for c in cuts]
    note = "These associations were cut: let the senders send again; ask HL7 senders about the last message."
    heads = ["At", "Service", "Member", "Sender", "Note"]
    return _table("Senders that were cut", note, heads, rows, none="None is known.")


def _work(report: Report) -> str:
    rows: list[list[Cell]] = [
        [w.service, w.member, w.state, _at(w.begin), _at(w.end) if w.end else "goes on", w.person, w.reason]
        for w in report.work
    ]
    heads = ["Service", "Member", "What", "From", "To", "Person", "Reason"]
    return _table("Planned work", "Members that operators kept away.", heads, rows, none="There was none.")


def _flaps(report: Report) -> str:
    rows: list[list[Cell]] = [
        [f.service, f.member, (str(f.times), "n"), (str(f.worst), "n"), _at(f.worst_at), f.reason] for f in report.flaps
    ]
    note = "Members whose check went down three times or more within ten minutes: overload, or a check that asks too much."
    heads = ["Service", "Member", "Went down", "In ten minutes", "At", "Reason then"]
    return _table("Checks that flapped", note, heads, rows, none="There was none.", right=(2, 3))


def _table(
    title: str,
    note: str,
    heads: list[str],
    rows: list[list[Cell]],
    *,
    none: str = "",
    numeric: int = 99,
    right: tuple[int, ...] = (),
) -> str:
    if not rows:
        return f"<h2>{title}</h2>{_none(none)}"
    columns = []
    for at, head in enumerate(heads):
        style = ' class="n"' if at >= numeric or at in right else ""
        columns.append(f'<th scope="col"{style}>{head}</th>')
    lines = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows)
    return (
        f"<h2>{title}</h2><table><caption>{note}</caption>"
        f"<thead><tr>{''.join(columns)}</tr></thead><tbody>{lines}</tbody></table>"
    )


def _cells(row: list[Cell]) -> Iterable[str]:
    for at, cell in enumerate(row):
        value, style = cell if isinstance(cell, tuple) else (cell, "")
        attribute = f' class="{style}"' if style else ""
        if at == 0:
            yield f'<th scope="row"{attribute}>{escape(value)}</th>'
        else:
            yield f"<td{attribute}>{escape(value)}</td>"


def _at(value: datetime) -> str:
    """A time that no line break tears."""
    return moment(value).replace(" ", "\u00a0")


def _none(words: str) -> str:
    return f'<p class="none">{words}</p>'


def _list(items: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""


def _method() -> str:
    return (
        "How it is counted: a service is available while the node that holds its addresses has a member whose checks pass"
        " and that no operator keeps away. When operators kept every member away, that is planned work; when the one that"
        " was left failed, it is an outage. Time in which no node watched, or the checks had no answer, is not observed: it"
        " counts neither for nor against. A node that dies is noticed within a second or so, and counts from then."
    )
