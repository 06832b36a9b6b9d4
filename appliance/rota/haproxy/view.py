"""The view of one node's HAProxy: sections of finished lines, so that the template only loops."""

from __future__ import annotations

from rota.haproxy import check_dicom
from rota.haproxy.backends import PEERS, backends
from rota.haproxy.frontends import ASSOCIATIONS, frontend
from rota.haproxy.section import HaproxyView, NeededFile, Section, endpoint
from rota.model import Service, Site
from rota.model.fields import family
from rota.model.schema import Mode, Settings

# Node to node, on the nodes' own addresses.
PEERS_PORT = 8406

_CERTIFICATES = ("certificate", "client_ca", "member_ca", "member_certificate")


def view(site: Site, node: str) -> HaproxyView:
    """The HAProxy of `node`; KeyError when the site has no such node."""
    if node not in site.site.nodes:
        raise KeyError(f"{node} is not a node of the site")
    services = site.services_of(node)
    sections = [_peers(site.site, node, site.peers_of(node))]
    for name, service in services.items():
        if not service.mode.is_l4:
            sections.append(frontend(name, service))
        sections += backends(name, service)
    if any(service.reads_associations and not service.mode.is_l4 for service in services.values()):
        # address, port and two AE titles; a reload leaves the associations of the old process with the old process
        lines = ["stick-table type string len 96 size 100k expire 10s store conn_cur"]
        sections.append(Section("who is associated now", f"backend {ASSOCIATIONS}", lines))
    maps = {
        check_dicom.CALLED_MAP: check_dicom.called_map(services),
        check_dicom.REJECT_MAP: check_dicom.reject_map(),
    }
    return HaproxyView(
        node=node,
        sections=sections,
        maps=maps,
        certificates=[file for name, service in services.items() for file in _certificates(name, service)],
        pages=[
            NeededFile(service.fallback.page, f"pages/{name}.html")
            for name, service in services.items()
            if service.fallback is not None and service.fallback.page is not None
        ],
        transparent_members=_transparent(services),
    )


def _peers(settings: Settings, node: str, others: list[str]) -> Section:
    """Stick tables are kept by both nodes, and handed from an old process to the new one at a reload."""
    names = [name for name in settings.nodes if name == node or name in others]
    lines = [f"peer {name} {endpoint(settings.nodes[name].addresses[0], PEERS_PORT)}" for name in names]
    return Section("who was sent where, known to both nodes and kept over a reload", f"peers {PEERS}", lines)


def _certificates(name: str, service: Service) -> list[NeededFile]:
    files = []
    for key in _CERTIFICATES:
        source = getattr(service.tls, key)
        if source is not None and not (service.mode.is_l4 and key in ("certificate", "client_ca")):
            files.append(NeededFile(source, f"certs/{name}.{key.replace('_', '-')}.pem"))
    return files


def _transparent(services: dict[str, Service]) -> dict[str, list[str]]:
    """Members that answer to callers' own addresses; their packets have to be caught on the way back."""
    found: dict[str, list[str]] = {"v4": [], "v6": []}
    for service in services.values():
        if service.mode is Mode.L7_TRANSPARENT:
            for member in service.members.values():
                of_family = found[f"v{family(member.address)}"]
                if member.address not in of_family:
                    of_family.append(member.address)
    return found
