"""The list to hand to the vendor of an imaging system: which addresses and AE titles it will see, for its allow-lists."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields

from rota.model import Service, Site
from rota.model.fields import family
from rota.model.schema import Mode


@dataclass(frozen=True)
class Line:
    """One permission that a member has to give."""

    service: str
    member: str
    member_address: str
    member_port: str
    from_address: str
    from_node: str
    calling_ae: str
    called_ae: str
    purpose: str


def source_of(site: Site, node: str, member: str) -> str:
    """The address of `node` that a member sees: the one in the member's network, or the first of its family."""
    own = [address for address in site.site.nodes[node].addresses if family(address) == family(member)]
    network = site.site.network_of(member)
    near = [address for address in own if network is not None and site.site.network_of(address) == network]
    return next(iter([*near, *own]), "")


def lines(site: Site, only: str | None = None) -> Iterator[Line]:
    """Every permission of every member, in model order."""
    for name, service in site.services.items():
        if only in (None, name):
            nodes = [n for n in site.site.nodes if service.group in site.groups_of(n)]
            for member in service.members:
                yield from _member(site, nodes, name, service, member)


def _member(site: Site, nodes: list[str], name: str, service: Service, member: str) -> Iterator[Line]:
    real = service.members[member]
    ports = str(real.port) if real.port else " ".join(map(str, service.ports))
    dicom = service.profile.is_dicom
    called = (service.called_ae_of(member) or "") if dicom else ""
    for node in nodes:
        source = source_of(site, node, real.address)
        base = (name, member, real.address)
        asks = service.check.calling_ae or site.site.ae_title if dicom else ""
        check_port = str(service.check_port_of(member))
        yield Line(*base, check_port, source, node, asks, called, "health checks")
        if service.mode is Mode.L7:
            title = "as the caller's" if dicom else ""
            yield Line(*base, ports, source, node, title, called, "all work")
    if service.mode is not Mode.L7:
        title = "as the caller's" if dicom else ""
        yield Line(*base, ports, "each caller's own", "", title, called, "all work")


def to_csv(found: list[Line]) -> str:
    """The list as CSV (RFC 4180), with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([f.name for f in fields(Line)])
    writer.writerows([_harmless(value) for value in astuple(line)] for line in found)
    return out.getvalue()


def _harmless(value: str) -> str:
    # a spreadsheet would take it for a formula
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
