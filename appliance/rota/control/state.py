"""What rotad knows, as its API says it: the contract between the daemon, the command, the web app and the reports.

Times are UTC, RFC 3339 with `Z`. Every object is closed: a reader that meets an unknown key has another version.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Closed(BaseModel):
    """Base of all: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(StrEnum):
    """What the checks say of a member. `unknown` is a state of its own and is never shown as up."""

    UP = "up"
    DOWN = "down"
    CANNOT_STORE = "cannot-store"  # answers, but a deep check says that it cannot do its work
    UNKNOWN = "unknown"


class IntentState(StrEnum):
    """What an operator wants of a member."""

    READY = "ready"
    DRAIN = "drain"  # no new work, running work ends
    HALT = "halt"  # cut now


class Role(StrEnum):
    """What a node is in a VRRP group, judged by the address on the interface and not by keepalived's word."""

    ACTIVE = "active"
    STANDBY = "standby"
    UNKNOWN = "unknown"


class PairState(StrEnum):
    """How a VRRP group stands over both nodes."""

    OK = "ok"
    SPLIT_BRAIN = "split-brain"  # both nodes hold an address
    NO_ACTIVE = "no-active"  # neither does
    PEER_UNKNOWN = "peer-unknown"  # the peer cannot be seen
    ALONE = "alone"  # the group has one node


class Intent(Closed):
    """An operator's wish for one member of one service; last writer wins by (counter, node)."""

    service: str
    member: str
    state: IntentState
    reason: Reason
    person: str
    at: datetime
    until: datetime | None = None
    counter: int = Field(ge=0)
    node: str

    @property
    def order(self) -> tuple[int, str]:
        """What decides between two intents for the same member."""
        return (self.counter, self.node)


class WindowPhase(StrEnum):
    """How far a maintenance window is."""

    PLANNED = "planned"
    RUNNING = "running"
    OVER = "over"
    SKIPPED = "skipped"  # it did not begin: `outcome` says why
    CALLED_OFF = "called-off"


class Window(Closed):
    """A maintenance window: a drain or halt that begins and ends by itself; last writer wins by (counter, node)."""

    id: str = Field(pattern=r"^[0-9a-f]{6}$")
    member: str
    service: str | None  # None: in all services that it has when the window begins
    state: IntentState  # drain or halt
    starts: datetime
    until: datetime
    reason: Reason
    person: str  # who planned it
    force: bool  # even the last member that serves
    phase: WindowPhase
    outcome: str | None = Field(max_length=400)  # why it is over, was skipped or called off
    at: datetime  # when this was written
    counter: int = Field(ge=0)
    node: str

    @property
    def live(self) -> bool:
        """Whether anything is still to come of it."""
        return self.phase in (WindowPhase.PLANNED, WindowPhase.RUNNING)


class IpvsCounts(Closed):
    """What the kernel's IPVS has of a layer 4 member on this node, over all ports of its service."""

    weight: int | None  # as the kernel has it, 0: no new work; None: it is not there
    active: int  # connections open now; on a standby: as the active node told it
    inactive: int  # on their way out, and UDP


class MemberState(Closed):
    """One member of one service, as this node sees it."""

    name: str
    address: str
    port: int | None
    verdict: Verdict
    reason: str  # HAProxy's last_chk or the deep check's words
    since: datetime | None  # of this verdict
    intent: Intent | None  # None: ready, and nobody ever said otherwise
    backup: bool
    in_use: bool  # gets new work now
    associations: int  # connections open now
    limit: int | None
    check: str  # kind
    deep: str | None = None  # last deep verdict, e.g. "storage: cannot-store: A700 …"
    ipvs: IpvsCounts | None = None  # None: not at layer 4, or not known


class ServiceState(Closed):
    """One service with its members."""

    name: str
    profile: str
    department: str
    description: str
    group: str
    mode: str
    addresses: list[str]
    ports: list[int]
    verdict: Literal["up", "degraded", "down", "unknown"]
    braked: bool  # layer 4 holds its last state: too many members failed at once
    members: list[MemberState]


class GroupState(Closed):
    """One VRRP group as this node sees it."""

    name: str
    role: Role
    since: datetime | None
    holders: list[str]
    state: PairState
    addresses: list[str]


class PeerState(Closed):
    """What this node knows of a peer: two paths, because one alone cannot tell a dead node from a dead cable."""

    node: str
    reachable: bool  # rotad answers over mutual TLS
    heartbeat: bool  # its HAProxy or address answers on the service network
    since: datetime | None
    version: str | None
    model_hash: str | None
    in_step: bool  # same version, model, intents and maintenance windows
    problem: str | None  # what is wrong, in words


class Alarm(Closed):
    """Something that a person should look at, as long as it lasts."""

    key: str  # e.g. "member-down:pacs/pacs-b", "split-brain:main"
    severity: Literal["critical", "warning"]
    text: str
    since: datetime


class Certificate(Closed):
    """A certificate that HAProxy of this node shows, by the name of its file."""

    name: str
    ends: datetime


class Status(Closed):
    """Everything at one moment, from one node."""

    node: str
    version: str
    model_hash: str
    at: datetime
    haproxy_since: datetime | None  # None: HAProxy does not answer
    haproxy_problem: str | None
    groups: list[GroupState]
    peers: list[PeerState]
    services: list[ServiceState]
    alarms: list[Alarm]
    ipvs_problem: str | None = None  # why nothing is known of IPVS, although there are layer 4 services
    certificate_ends: datetime | None = None  # of what this node shows to its peers; None: not known, or it has none
    certificates: list[Certificate] = []  # that HAProxy shows, the one that ends first at the top
    windows: list[Window] = []  # maintenance windows that are planned or running, the next one first


class Event(Closed):
    """One line of the journal. `kind` is a fixed word; `detail` is for people."""

    id: int
    at: datetime
    node: str
    kind: Literal[
        "verdict",
        "intent",
        "role",
        "pair",
        "peer",
        "haproxy",
        "deep",
        "alarm",
        "failover",
        "rotad",
        "brake",
        "audit",
        "window",
    ]
    service: str | None = None
    member: str | None = None
    before: str | None = None
    after: str | None = None
    reason: str | None = None
    person: str | None = None


class Association(Closed):
    """A connection that is open now."""

    service: str
    member: str | None
    caller: str  # address:port
    calling_ae: str | None
    called_ae: str | None
    age_s: float
    bytes_in: int
    bytes_out: int
    node: str


class IntentRequest(Closed):
    """Body of POST /v1/intents."""

    member: str
    service: str | None = None  # None: in all its services
    state: IntentState
    reason: Reason
    until: datetime | None = None
    force: bool = False


class WindowRequest(Closed):
    """Body of POST /v1/windows."""

    member: str
    service: str | None = None  # None: in all its services
    state: Literal["drain", "halt"]
    reason: Reason
    starts: datetime
    until: datetime
    force: bool = False


class CallOff(Closed):
    """Body of POST /v1/windows/{window}/call-off."""

    reason: Reason


class FailoverRequest(Closed):
    """Body of POST /v1/failover: hand `group` (None: all that this node holds) to the peer."""

    group: str | None = None
    reason: Reason
    force: bool = False


class AuditRequest(Closed):
    """Body of POST /v1/audit: what somebody did, or tried to do, through a program that knows people (the web app)."""

    action: str = Field(pattern=r"^[a-z][a-z-]{1,31}$")  # e.g. "sign-in", "drain", "person-added"
    outcome: Literal["done", "refused", "failed"]
    source: str = Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z.:%_-]+$")  # the address it came from
    text: Reason | None = None  # why, or what exactly
    service: str | None = Field(None, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")
    member: str | None = Field(None, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")


class Problem(Closed):
    """Every error of the API (RFC 9457): `title` is one line for people, `code` a fixed word for programs."""

    type: str = "about:blank"
    status: int
    code: str  # e.g. "unknown-member", "last-member", "peer-unfit", "forbidden", "bad-request"
    title: str
