"""Verdicts, intents and times in the words of the pages. Words say it; a colour only helps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rota.control.state import Event, Intent, IntentState, MemberState, ServiceState, Verdict, Window, WindowPhase

READY = IntentState.READY


@dataclass(frozen=True)
class Tag:
    """A word in a coloured box; `colour` names the style."""

    text: str
    colour: str


UNKNOWN = Tag("Unknown", "unknown")
_VERDICTS: dict[str, Tag] = {
    Verdict.UP: Tag("Up", "good"),
    Verdict.DOWN: Tag("Down", "bad"),
    Verdict.CANNOT_STORE: Tag("Cannot store", "bad"),
    Verdict.UNKNOWN: UNKNOWN,
}
_SERVICES = {
    "up": Tag("Up", "good"),
    "degraded": Tag("Reduced", "warn"),
    "down": Tag("Down", "bad"),
    "unknown": UNKNOWN,
}
PROFILES = {
    "dicom": "DICOM", "dicom-tls": "DICOM over TLS", "hl7": "HL7", "hl7-tls": "HL7 over TLS", "xds-registry": "XDS registry",
    "xds-repository": "XDS repository", "xds-imaging": "XDS imaging", "dicomweb": "DICOMweb", "viewer": "Web viewer",
    "rest": "REST", "tcp": "TCP",
}  # fmt: skip


def verdict(value: Verdict | str) -> Tag:
    """The tag of a member's verdict."""
    return _VERDICTS[value]


def service(value: str) -> Tag:
    """The tag of a service's verdict."""
    return _SERVICES[value]


def profile(value: str) -> str:
    """A kind of service as people call it."""
    return PROFILES.get(value, value)


def clock(moment: datetime | None, now: datetime) -> str:
    """`14:02:10` today, else `27 Nov 14:02`, in the node's time; words when it is not known."""
    if moment is None:
        return "not known"
    there = moment.astimezone()
    return f"{there:%H:%M:%S}" if there.date() == now.astimezone().date() else f"{there.day} {there:%b %H:%M}"


def stamp(moment: datetime) -> str:
    """Date and time to the second, in the node's time."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def length(seconds: float) -> str:
    """`150 ms`, `3 s`, `15 min`: a setting of the model, given in seconds."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{round(seconds // size)} {name}"
    return f"{seconds:g} s"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 member`, `2 members`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: list[str], most: int = 4) -> str:
    """`a, b and c`; of many the first ones and how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def taken_out(intent: Intent | None) -> bool:
    """Whether an operator keeps the member away."""
    return intent is not None and intent.state is not READY


def intent(value: Intent | None, now: datetime) -> str:
    """`draining until 16:30:00, by anna: patching`; nothing for a member that is simply ready."""
    if value is None or value.state is READY:
        return ""
    state = "draining" if value.state is IntentState.DRAIN else "halted"
    until = f" until {clock(value.until, now)}" if value.until else ""
    return f"{state}{until}, by {value.person}: {value.reason}"


def window_time(value: Window) -> str:
    """`Sun 30 Nov 02:00 to 04:00`, in the node's time."""
    begin, end = value.starts.astimezone(), value.until.astimezone()
    until = f"{end:%H:%M}" if begin.date() == end.date() else _day(end)
    return f"{_day(begin)} to {until}"


def _day(there: datetime) -> str:
    return f"{there:%a} {there.day} {there:%b %H:%M}"


def planned(windows: list[Window], service: str, member: str) -> str:
    """`planned: drain Sun 30 Nov 02:00 to 04:00`, the next window of a member; nothing when there is none."""
    for one in windows:
        if one.phase is WindowPhase.PLANNED and one.member == member and one.service in (None, service):
            return f"planned: {one.state} {window_time(one)}"
    return ""


def work(member: MemberState) -> str:
    """Whether the member gets new work now."""
    if member.intent is not None and member.intent.state is IntentState.DRAIN:
        return "no new work"
    if member.intent is not None and member.intent.state is IntentState.HALT:
        return "cut off"
    if member.backup and member.verdict is Verdict.UP:
        return "stands by"
    return "takes work" if member.in_use else "gets none"


def well(member: MemberState) -> bool:
    """Nothing about the member needs a look."""
    return member.verdict is Verdict.UP and not taken_out(member.intent)


def place(address: str, port: int | None) -> str:
    """`192.0.2.1:104`, `[2001:db8::1]:104`."""
    host = f"[{address}]" if ":" in address and port else address
    return f"{host}:{port}" if port else host


def places(one: ServiceState) -> list[str]:
    """Every address and port that clients of a service may call."""
    return [place(address, port) for address in one.addresses for port in one.ports]


_KINDS = {
    "verdict": "check", "intent": "operator", "role": "address", "pair": "pair", "peer": "peer", "haproxy": "HAProxy",
    "deep": "deep check", "alarm": "alarm", "failover": "failover", "rotad": "rotad", "brake": "brake",
    "audit": "person", "window": "window",
}  # fmt: skip
KINDS = tuple(_KINDS)


def kind(value: str) -> str:
    """A kind of event as people call it."""
    return _KINDS.get(value, value)


def change(event: Event) -> str:
    """`up → down`."""
    return " → ".join(word for word in (event.before, event.after) if word)


def colour(event: Event) -> str:
    """How an event is marked: bad, good, warn or nothing."""
    return {
        "down": "bad", "cannot-store": "bad", "split-brain": "bad", "no-active": "bad", "raised": "bad", "cut": "bad",
        "unknown": "warn", "unreachable": "warn", "drain": "warn", "halt": "warn", "skipped": "bad",
        "up": "good", "cleared": "good",
    }.get(event.after or "", "")  # fmt: skip
