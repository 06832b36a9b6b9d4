"""The objects of ROTA-MIB out of a status: pure. Rows are in model order, and keep their number while the model stays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from rota.control.state import Status

Oid = tuple[int, ...]
# Enterprise 32473 is reserved for examples (RFC 5612): a site with a number of its own gives another base.
BASE: Oid = (1, 3, 6, 1, 4, 1, 32473, 51)

# The numbers of the enumerations in the MIB; 0 is what this version has no number for.
SERVICE_VERDICT = {"unknown": 1, "up": 2, "degraded": 3, "down": 4}
MEMBER_VERDICT = {"unknown": 1, "up": 2, "cannot-store": 3, "down": 4}
INTENT = {"ready": 1, "drain": 2, "halt": 3}
ROLE = {"unknown": 1, "active": 2, "standby": 3}
PAIR = {"ok": 1, "alone": 2, "peer-unknown": 3, "no-active": 4, "split-brain": 5}
_TRUE, _FALSE = 1, 2  # TruthValue of SNMPv2-TC


@dataclass(frozen=True)
class Value:
    """One object: a type of net-snmp's pass_persist (snmpd.conf(5)), and the text of its value."""

    kind: str
    text: str


def _string(text: str) -> Value:
    # one line is the protocol's limit, 255 that of DisplayString
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return Value("string", plain[:255])


def _integer(number: int) -> Value:
    return Value("integer", str(number))


def _gauge(number: int) -> Value:
    return Value("gauge", str(number))


def _truth(yes: bool) -> Value:
    return _integer(_TRUE if yes else _FALSE)


def objects(status: Status, base: Oid = BASE) -> dict[Oid, Value]:
    """Every object of a status, by its OID."""
    return {base + oid: value for oid, value in _objects(status)}


def _objects(status: Status) -> Iterator[tuple[Oid, Value]]:
    critical = sum(a.severity == "critical" for a in status.alarms)
    scalars = [
        _string(status.node),
        _string(status.version),
        _truth(status.haproxy_problem is None),
        _gauge(critical),
        _gauge(len(status.alarms) - critical),
    ]
    for number, value in enumerate(scalars, 1):
        yield (1, number, 0), value
    for row, service in enumerate(status.services, 1):
        columns = [_string(service.name), _integer(SERVICE_VERDICT.get(service.verdict, 0)), _truth(service.braked)]
        yield from _row((2, 1), columns, row)
    members = [(service, member) for service in status.services for member in service.members]
    for row, (service, member) in enumerate(members, 1):
        columns = [
            _string(service.name),
            _string(member.name),
            _integer(MEMBER_VERDICT.get(member.verdict, 0)),
            _string(member.reason),
            _truth(member.in_use),
            _integer(INTENT.get(member.intent.state if member.intent else "ready", 0)),
            _gauge(member.associations),
        ]
        yield from _row((3, 1), columns, row)
    for row, group in enumerate(status.groups, 1):
        yield from _row(
            (4, 1), [_string(group.name), _integer(ROLE.get(group.role, 0)), _integer(PAIR.get(group.state, 0))], row
        )
    for row, peer in enumerate(status.peers, 1):
        yield from _row((5, 1), [_string(peer.node), _truth(peer.reachable), _truth(peer.in_step)], row)


def _row(entry: Oid, columns: list[Value], row: int) -> Iterator[tuple[Oid, Value]]:
    # column 1 is the index, which managers take from the OID
    for number, value in enumerate(columns, 2):
        yield (*entry, number, row), value


def after(found: dict[Oid, Value], oid: Oid) -> Oid | None:
    """The next OID in the order of SNMP, or None at the end."""
    ordered = sorted(found)
    place = bisect_right(ordered, oid)
    return ordered[place] if place < len(ordered) else None
