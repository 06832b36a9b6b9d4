"""The page of one service: who calls what, how it is checked, and what became of its members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rota.commands.times import length, size
from rota.control.state import Association, Event, ServiceState, Status
from rota.model import Service, Site
from rota.model.schema import CheckKind, Mode, TlsMode
from rota.report.model import Report, ServiceReport, State
from rota.report.svg import WORDS as STATES
from rota.report.view import History, ServiceView
from rota.report.words import duration
from rota.web.views import words

DAY = timedelta(hours=24)
_MODES = {
    Mode.L7: "layer 7: the node takes the connection and opens its own to a member, which sees the node's address",
    Mode.L7_TRANSPARENT: "layer 7, transparent: the node takes the connection; the member sees the caller's own address",
    Mode.L4_DR: "layer 4, direct routing: packets pass the node, answers go from the member straight to the caller",
    Mode.L4_NAT: "layer 4, NAT: packets pass the node both ways",
    Mode.L4_TUN: "layer 4, tunnel: packets go to the member in a tunnel, answers straight to the caller",
}
_TLS = {
    TlsMode.OFFLOAD: "ends on the node; members get plain text",
    TlsMode.PASS_THROUGH: "ends on the member; the node sees nothing of what is inside",
    TlsMode.RE_ENCRYPT: "ends on the node, and again on the member",
}
_PERSISTENCE = {"source": "its address", "calling-ae": "its calling AE title", "cookie": "a cookie"}
_BALANCE = {
    "leastconn": "the member with the fewest connections", "roundrobin": "each member in turn",
    "source": "by the caller's address", "first": "the first member that has room",
    "wlc": "the member with the fewest connections, by weight",
    "lc": "the member with the fewest connections", "rr": "each member in turn", "wrr": "each member in turn, by weight",
    "sh": "by the caller's address", "mh": "by the caller's address (Maglev)",
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One line of what is set."""

    term: str
    text: str


@dataclass(frozen=True)
class Caller:
    """One connection that is open."""

    caller: str
    calling: str
    called: str
    member: str
    node: str
    age: str
    size: str


@dataclass(frozen=True)
class Line:
    """One event, in words."""

    at: str
    node: str
    kind: str
    what: str
    change: str
    reason: str
    person: str
    colour: str


def line(event: Event) -> Line:
    """An event as the pages list it."""
    what = "/".join(filter(None, (event.service, event.member)))
    return Line(
        words.stamp(event.at), event.node, words.kind(event.kind), what, words.change(event), event.reason or "",
        event.person or "", words.colour(event),
    )  # fmt: skip


def callers(found: Sequence[Association]) -> list[Caller]:
    """Connections, the oldest first."""
    return [
        Caller(
            a.caller, a.calling_ae or "", a.called_ae or "", a.member or "waits", a.node, length(a.age_s),
            f"{size(a.bytes_in)} in, {size(a.bytes_out)} out",
        )
        for a in sorted(found, key=lambda a: -a.age_s)
    ]  # fmt: skip


# --- what is set


def facts(service: Service) -> Iterator[Fact]:
    """What the model says of the service, in words."""
    yield Fact("Way", _MODES[service.mode])
    spread = "one member at a time; another one takes over when it fails" if service.single_active else None
    yield Fact("New work goes to", spread or _BALANCE[service.balance.value])
    if service.persistence.kind.value in _PERSISTENCE:
        kept = words.length(service.persistence.timeout / 1000)
        yield Fact("A caller stays", f"on its member, known by {_PERSISTENCE[service.persistence.kind.value]}, for {kept}")
    if service.tls.mode is not TlsMode.NONE:
        yield Fact("TLS", f"{_TLS[service.tls.mode]}; at least version {service.tls.minimum}")
    for called, members in service.routes.items():
        yield Fact(f"Called AE {called}", f"goes to {words.listed(list(members), 20)}")
    allow = service.allow
    if allow.sources:
        yield Fact("Callers allowed", ", ".join(map(str, allow.sources)))
    if allow.calling_ae:
        yield Fact("Calling AE allowed", ", ".join(allow.calling_ae))
    if service.fallback is not None:
        where = words.place(str(service.fallback.address), service.fallback.port) if service.fallback.address else "a page"
        yield Fact("When no member is left", f"{where} answers")


def check(service: Service) -> list[str]:
    """How members are asked, in sentences."""
    asked = service.check
    port = f" on port {asked.port}" if asked.port else ""
    tls = " inside TLS" if (service.members_speak_tls if asked.tls is None else asked.tls) else ""
    fall = words.count(asked.fall, "failure")
    apart = f", {words.length(asked.fast_interval / 1000)} apart," if asked.fall > 1 else ""
    return [
        f"{_asks(service)}{port}{tls}, every {words.length(asked.interval / 1000)}, and waits at most"
        f" {words.length(asked.timeout / 1000)} for the answer.",
        f"{fall} in a row{apart} take a member out; {words.count(asked.rise, 'answer')} in a row"
        f" {'brings' if asked.rise == 1 else 'bring'} it back. While it is down it is asked every"
        f" {words.length(asked.down_interval / 1000)}.",
        *(
            f"Deep check {deep.name or deep.kind.value}: {deep.kind.value}, every {words.length(deep.interval / 1000)}."
            for deep in service.deep
        ),
    ]


def _asks(service: Service) -> str:
    asked = service.check
    match asked.kind:
        case CheckKind.DICOM:
            called = sorted({service.called_ae_of(m) or "" for m in service.members} - {""})
            whom = f" to {words.listed(called)}" if called else ""
            return f"Opens a DICOM association as {asked.calling_ae or 'the site’s AE title'}{whom} and asks a C-ECHO"
        case CheckKind.HL7:
            kind = f" ({asked.message_type})" if asked.message_type else ""
            return f"Sends an HL7 probe message{kind} and matches its acknowledgement"
        case CheckKind.SOAP:
            return f"Sends a SOAP request to {asked.path or '/'}"
        case CheckKind.HTTP:
            return f"Asks {asked.method or 'GET'} {asked.path or '/'} and wants status {asked.status or '200-399'}"
        case CheckKind.TLS:
            return "Opens a TCP connection and shakes hands in TLS"
    return "Opens a TCP connection"


def time_outs(service: Service) -> list[Fact]:
    """How long each step may take."""
    named = (
        ("Connect to a member", service.timeouts.connect), ("Silence of the caller", service.timeouts.client),
        ("Silence of the member", service.timeouts.server), ("Wait for a free association", service.timeouts.queue),
        ("Wait for the request", service.timeouts.request),
    )  # fmt: skip
    return [Fact(term, words.length(value / 1000)) for term, value in named]


# --- the last day


@dataclass(frozen=True)
class Turn:
    """A member was something for a while."""

    member: str
    begin: str
    length: str
    state: str
    cause: str


def last_day(
    events: Sequence[Event], status: Status, one: ServiceState, watched_from: datetime | None
) -> tuple[Report, list[Turn]]:
    """Each member over the last 24 hours, as a report whose lines are members; and the same in words, worst things only."""
    begin = status.at - DAY
    history = History(sorted(events, key=lambda e: e.at), status, begin, watched_from)
    lines, turns = [], []
    for member in one.members:
        spans = ServiceView(history, one.model_copy(update={"members": [member]})).spans(begin, status.at)
        lines.append(ServiceReport(member.name, "", DAY.total_seconds(), 0, 0, 0, 0, 0, 0, spans))
        turns += [
            Turn(member.name, words.clock(s.begin, status.at), duration(s.seconds), STATES[s.state], s.cause)
            for s in spans
            if s.state is not State.UP
        ]
    report = Report(
        site="", node=status.node, begin=begin, end=status.at, made=status.at, watched_from=watched_from, services=lines,
        outages=[], work=[], failovers=[], cut=[], incidents=[], flaps=[], certificates=[],
    )  # fmt: skip
    return report, turns


def calling_ae(site: Site) -> str:
    """The AE title of the nodes' own checks."""
    return site.site.ae_title
