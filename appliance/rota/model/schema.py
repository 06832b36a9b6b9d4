"""The one service model: what an operator may write, and what every reader gets.

A parsed model is *normalised*: profile defaults are filled in, short forms are spelled out. Its dump is accepted by
`rota.model.parse` again and gives the same model.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rota.model.deep import DeepCheck
from rota.model.fields import (
    AeTitle,
    CookieName,
    Count,
    Duration,
    FileName,
    Interface,
    Ip,
    Line,
    Name,
    Network,
    NodeName,
    Port,
    Token,
    UrlPath,
    VrrpId,
    Weight,
    family,
)
from rota.model.layer4 import BalanceFlag, Ipvs, Protocol


class Strict(BaseModel):
    """Base of all parts: unknown keys are refused, values do not change after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Profile(StrEnum):
    """A named set of defaults for a kind of service; `rota.model.profiles` has the values."""

    DICOM = "dicom"
    DICOM_TLS = "dicom-tls"
    HL7 = "hl7"
    HL7_TLS = "hl7-tls"
    XDS_REGISTRY = "xds-registry"
    XDS_REPOSITORY = "xds-repository"
    XDS_IMAGING = "xds-imaging"
    DICOMWEB = "dicomweb"
    VIEWER = "viewer"
    REST = "rest"
    DATABASE = "database"
    TCP = "tcp"
    UDP = "udp"
    SYSLOG = "syslog"
    DNS = "dns"

    @property
    def is_dicom(self) -> bool:
        """Whether clients open DICOM associations."""
        return self in (Profile.DICOM, Profile.DICOM_TLS)

    @property
    def is_hl7(self) -> bool:
        """Whether clients send an MLLP feed."""
        return self in (Profile.HL7, Profile.HL7_TLS)

    @property
    def may_use_udp(self) -> bool:
        """Whether clients may send datagrams."""
        return self in (Profile.UDP, Profile.SYSLOG, Profile.DNS)

    @property
    def is_http(self) -> bool:
        """Whether clients speak HTTP (inside TLS or not)."""
        return self.value in ("xds-registry", "xds-repository", "xds-imaging", "dicomweb", "viewer", "rest")


class Mode(StrEnum):
    """How traffic passes the node."""

    L7 = "l7"  # HAProxy; the member sees the node's address
    L7_TRANSPARENT = "l7-transparent"  # HAProxy; the member sees the client's address
    L4_DR = "l4-dr"
    L4_NAT = "l4-nat"
    L4_TUN = "l4-tun"

    @property
    def is_l4(self) -> bool:
        """Whether IPVS carries the traffic."""
        return self.value.startswith("l4")


class Balance(StrEnum):
    """How a member is chosen for a new connection."""

    LEASTCONN = "leastconn"
    ROUNDROBIN = "roundrobin"
    SOURCE = "source"
    FIRST = "first"
    # layer 4 only: the schedulers of IPVS
    WLC = "wlc"
    LC = "lc"
    RR = "rr"
    WRR = "wrr"
    SH = "sh"
    MH = "mh"

    @property
    def is_l4(self) -> bool:
        """Whether it is the name of an IPVS scheduler."""
        return self.value in ("wlc", "lc", "rr", "wrr", "sh", "mh")


class PersistenceKind(StrEnum):
    """What keeps a caller on the member it had before."""

    NONE = "none"
    SOURCE = "source"
    CALLING_AE = "calling-ae"
    COOKIE = "cookie"


class CheckKind(StrEnum):
    """How a member's health is asked."""

    DICOM = "dicom"  # association, C-ECHO, release
    HL7 = "hl7"  # a probe message, its ACK matched: agree it with the interface team first
    SOAP = "soap"
    HTTP = "http"
    TLS = "tls"  # TCP and a TLS handshake
    TCP = "tcp"


class TlsMode(StrEnum):
    """Who ends TLS."""

    NONE = "none"
    OFFLOAD = "offload"  # the node; members get plain text
    PASS_THROUGH = "pass-through"  # noqa: S105 (a mode, no password): the member; the node sees nothing
    RE_ENCRYPT = "re-encrypt"  # the node, and again to the member


class Persistence(Strict):
    """Keeps a caller on one member for `timeout` after its last connection."""

    kind: PersistenceKind = PersistenceKind.NONE
    timeout: Duration = 30 * 60_000
    cookie: CookieName = "ROTA"
    prefix_v4: Annotated[int, Field(strict=True, ge=1, le=32)] = Field(
        32, description="IPv4 callers whose addresses begin with the same bits share one member (kind source)."
    )
    prefix_v6: Annotated[int, Field(strict=True, ge=1, le=128)] = Field(128, description="The same for IPv6 callers.")


class Member(Strict):
    """One real server behind a service."""

    address: Ip
    port: Port | None = Field(None, description="Unset: the port that the client used.")
    weight: Weight = 100
    backup: bool | None = Field(None, description="Serves only when no other member does. Unset: the profile decides.")
    max_associations: Count | None = Field(None, description="Connections it may have at once. Unset: no limit.")
    called_ae: AeTitle | None = Field(None, description="AE title that its check calls.")
    tls_name: Token | None = Field(None, description="Name expected in its certificate, and sent as SNI.")


class Fallback(Strict):
    """Who answers when no member is left: a server, or (HTTP) a page."""

    address: Ip | None = None
    port: Port | None = None
    page: FileName | None = Field(None, description="HTML file, relative to the inventory. Unset: Rota's own page.")


class Check(Strict):
    """How and how often a member is asked. Keys that mean nothing to `kind` are refused."""

    kind: CheckKind = CheckKind.TCP
    port: Port | None = Field(None, description="Unset: the member's port.")
    interval: Duration = 15_000
    # two of these after the first refused connection, a dead member is out: under half a second
    fast_interval: Duration = Field(150, description="Pace while a verdict is about to change.")
    down_interval: Duration = 5_000
    timeout: Duration = 3_000
    fall: Count = 2
    rise: Count = 2
    tls: bool | None = Field(None, description="Ask inside TLS. Unset: as the members' traffic.")
    calling_ae: AeTitle | None = None
    called_ae: AeTitle | None = Field(None, description="For members that have no called_ae of their own.")
    sending_application: Token | None = None
    sending_facility: Token | None = None
    receiving_application: Token | None = None
    receiving_facility: Token | None = None
    message_type: Token | None = Field(None, description="MSH-9 of the probe, components joined by `:`; e.g. NMD:N02.")
    path: UrlPath | None = None
    method: Token | None = None
    host: Token | None = None
    status: Token | None = Field(None, description="A status or a range, e.g. 200 or 200-399.")
    expect: Line | None = Field(None, description="Text that the answer's body must hold.")
    soap_action: Token | None = None


class Timeouts(Strict):
    """How long each step may take."""

    # a vanished host costs this much per try; one lost packet is sent again after 1 s
    connect: Duration = 2_000
    client: Duration = 60_000
    server: Duration = 60_000
    queue: Duration = Field(30_000, description="Wait for a free association of a member that is at its limit.")
    request: Duration = Field(10_000, description="Wait for the association request or the HTTP request.")


class Tls(Strict):
    """TLS on the client's and on the members' side. File names are relative to the inventory."""

    mode: TlsMode = TlsMode.NONE
    certificate: FileName | None = Field(None, description="PEM with chain and key that clients see.")
    client_ca: FileName | None = Field(None, description="Clients must show a certificate of this CA.")
    member_ca: FileName | None = Field(None, description="Members must show a certificate of this CA.")
    member_certificate: FileName | None = Field(None, description="PEM that the node shows to members.")
    verify: bool = Field(True, description="Whether members' certificates are verified (re-encrypt).")
    minimum: Token = Field("1.2", description="1.2 or 1.3.")


class Allow(Strict):
    """Who may use the service; an empty list allows all."""

    sources: list[Network] = []
    calling_ae: list[AeTitle] = []
    called_ae: list[AeTitle] = Field([], description="Called AEs accepted beside those of `routes`.")


class Service(Strict):
    """One virtual address and its ports, with the members behind it."""

    profile: Profile
    description: Line = ""
    department: Line = ""
    group: Name = Field("", description="VRRP group that carries its addresses. Unset: the only group.")
    addresses: list[Ip] = Field(min_length=1)
    ports: list[Port] = Field(min_length=1)
    protocol: Protocol = Field(Protocol.TCP, description="UDP needs layer 4.")
    ports_as_one: bool = Field(
        False, description="Layer 4: a caller has one member for all ports, and a member all ports or none."
    )
    mode: Mode = Mode.L7
    balance: Balance = Balance.LEASTCONN
    balance_flags: list[BalanceFlag] = Field([], description="For sh and mh.")
    one_packet: bool = Field(False, description="UDP: each datagram is sent to a member of its own.")
    persistence: Persistence = Persistence()
    single_active: bool = Field(False, description="One member at a time, with no fall-back by itself.")
    members: dict[Name, Member] = Field(min_length=1)
    fallback: Fallback | None = None
    check: Check = Check()
    deep: list[DeepCheck] = Field([], description="What HAProxy cannot ask; rotad asks it at a slow pace.")
    timeouts: Timeouts = Timeouts()
    tls: Tls = Tls()
    routes: dict[AeTitle, list[Name]] = Field({}, description="Called AE → the members that serve it.")
    allow: Allow = Allow()

    @property
    def is_http_mode(self) -> bool:
        """Whether the node reads HTTP: not when TLS passes through, and not at layer 4."""
        return self.profile.is_http and self.tls.mode is not TlsMode.PASS_THROUGH and not self.mode.is_l4

    @property
    def reads_associations(self) -> bool:
        """Whether the node can read the association request."""
        return self.profile.is_dicom and self.tls.mode is not TlsMode.PASS_THROUGH and not self.mode.is_l4

    @property
    def members_speak_tls(self) -> bool:
        """Whether traffic to the members is inside TLS."""
        return self.tls.mode in (TlsMode.PASS_THROUGH, TlsMode.RE_ENCRYPT)

    def called_ae_of(self, member: str) -> str | None:
        """The AE title that the check of `member` calls."""
        return self.members[member].called_ae or self.check.called_ae

    def check_port_of(self, member: str) -> int:
        """The port that the check of `member` asks."""
        return self.check.port or self.members[member].port or self.ports[0]

    @model_validator(mode="before")
    @classmethod
    def _decide_backups(cls, raw: Any) -> Any:
        """With `single_active`, members that do not say otherwise stand by behind the first one."""
        if not isinstance(raw, dict) or not isinstance(raw.get("members"), dict):
            return raw
        members = raw["members"]
        if not all(isinstance(m, dict) for m in members.values()):
            return raw
        explicit = [name for name, m in members.items() if m.get("backup") is False]
        single = raw.get("single_active") is True and len(explicit) <= 1
        unsaid = [name for name, m in members.items() if m.get("backup") is None]
        primary = (explicit or unsaid or [None])[0]
        decided = {
            name: {**m, "backup": (single and name != primary)} if m.get("backup") is None else m
            for name, m in members.items()
        }
        return {**raw, "members": decided, **({"single_active": False} if len(explicit) > 1 else {})}


class Node(Strict):
    """One Rota machine; its key is its name in the Ansible inventory."""

    addresses: list[Ip] = Field(min_length=1, description="The first one carries VRRP and the peers' traffic.")
    interfaces: dict[Name, Interface] = Field(
        {}, description="Network → interface, where it differs from the network's own."
    )


class NodeNetwork(Strict):
    """A network that the nodes have a leg in."""

    prefixes: list[Network] = Field(min_length=1)
    interface: Interface


class Group(Strict):
    """One VRRP group: its addresses are all on one of its nodes at a time."""

    id: VrrpId
    nodes: list[NodeName] = Field(min_length=1, description="In order of preference: the first is active on a fresh start.")


class Vrrp(Strict):
    """How the nodes of a pair agree on who is active (RFC 5798)."""

    advert_interval: Duration = Field(200, description="A dead node is noticed after about 3.5 of these.")
    start_delay: Duration = Field(
        3_000, description="Silence after keepalived's start, so that a booting node disturbs nobody."
    )
    groups: dict[Name, Group] = {}


class Settings(Strict):
    """What is true of the whole site."""

    name: Name
    description: Line = ""
    ae_title: AeTitle = Field("ROTA", description="Calling AE of the nodes' checks.")
    nodes: dict[NodeName, Node] = Field(min_length=1)
    networks: dict[Name, NodeNetwork] = Field(min_length=1)
    management: list[Network] | None = Field(
        None, description="Who may reach SSH, the web pages and what else manages a node. Unset: everybody."
    )
    vrrp: Vrrp = Vrrp()
    ipvs: Ipvs = Ipvs()

    def network_of(self, address: str) -> str | None:
        """Name of the network that holds `address`, or None."""
        for name, network in self.networks.items():
            if any(
                ip_address(address) in ip_network(prefix) for prefix in network.prefixes if family(prefix) == family(address)
            ):
                return name
        return None

    def interface(self, node: str, network: str) -> str:
        """The interface of `node` in `network`."""
        return self.nodes[node].interfaces.get(network, self.networks[network].interface)


class Site(Strict):
    """The whole model: one site, its nodes and its services, in the order in which they were written."""

    site: Settings
    services: dict[Name, Service] = {}

    def groups_of(self, node: str) -> dict[str, Group]:
        """The VRRP groups that `node` takes part in."""
        return {name: group for name, group in self.site.vrrp.groups.items() if node in group.nodes}

    def services_of(self, node: str) -> dict[str, Service]:
        """The services that `node` may have to serve."""
        groups = self.groups_of(node)
        return {name: service for name, service in self.services.items() if service.group in groups}

    def peers_of(self, node: str) -> list[str]:
        """The other nodes that share a group with `node`, in the site's order."""
        shared = {n for group in self.groups_of(node).values() for n in group.nodes} - {node}
        return [n for n in self.site.nodes if n in shared]

    def addresses_of(self, group: str) -> list[str]:
        """The service addresses that VRRP group `group` carries, each once, in model order."""
        return list(dict.fromkeys(a for s in self.services.values() if s.group == group for a in s.addresses))
