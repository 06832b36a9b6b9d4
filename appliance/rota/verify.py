"""`rota verify`: asks every service through its own address, as a client would, and says what came of it.

A member's check says that a server is well; this says that the way to it is: address, HAProxy or IPVS, and a member.
At layer 4 a node cannot call, so the one that has the address says what its kernel has (`rota.verify_layer4`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv6Address
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rota import verify_layer4
from rota.checks import dicom, http, member, probe, tcp, tls, xds
from rota.checks.net import Address, connect
from rota.checks.trust import Tls
from rota.checks.verdict import Failure, Reason, Verdict
from rota.model.layer4 import Protocol
from rota.model.schema import Mode

if TYPE_CHECKING:
    from rota.model import Service, Site

# A balancer takes a connection before it knows whether it has a member for it, and closes it at once when not.
_LINGER = 0.3
_AT_ONCE = 32
_PAUSE = 0.5
_IF_INET6, _FIB_TRIE = Path("/proc/net/if_inet6"), Path("/proc/net/fib_trie")  # every address of this machine


@dataclass(frozen=True)
class Row:
    """What came of asking one service at one address and port."""

    service: str
    address: str
    port: int
    check: str
    verdict: str
    reason: str
    detail: str
    elapsed_ms: float
    nodes: list[str] = field(default_factory=list)  # not asked, because one of these has the address, and can tell


@dataclass(frozen=True)
class Question:
    """One address and port of a service, and how to ask there; `target` None: it cannot be asked from a node."""

    service: str
    address: str
    port: int
    check: str
    deadline: float
    target: member.Target | verify_layer4.Kernel | None
    why_not: str = ""
    nodes: tuple[str, ...] = ()


def questions(site: Site) -> list[Question]:
    """Every address and port of every service, in model order."""
    return [
        _question(site, name, service, address, port)
        for name, service in site.services.items()
        for address in service.addresses
        for port in service.ports
    ]


def _question(site: Site, name: str, service: Service, address: str, port: int) -> Question:
    deadline = max(service.check.timeout / 1000, 5.0)
    kind = service.check.kind.value
    question = Question(name, address, port, kind, deadline, None)
    nodes = [a for node in site.site.nodes.values() for a in node.addresses]
    if service.allow.sources and not _allowed(nodes, service.allow.sources):
        return replace(question, why_not="allow.sources has no node of the site")
    if service.tls.client_ca:
        return replace(question, why_not="clients must show a certificate")
    node = _this_node(site)
    if service.mode.is_l4 and node and name in site.services_of(node):
        if not _here(address):
            group = tuple(site.site.vrrp.groups[service.group].nodes)
            return replace(question, check="ipvs", why_not="layer 4: the node that has the address can tell", nodes=group)
        return replace(question, check="ipvs", target=verify_layer4.target(site, node, name, address, port))
    if service.protocol is Protocol.UDP:
        return replace(question, why_not="UDP: nobody need answer")
    if service.mode is Mode.L7_TRANSPARENT and not _here(address):
        # a member in our own network would answer this node directly, past the one whose connection it is
        return replace(question, why_not="transparent: only the node that holds the address can ask")
    return replace(question, target=_target(site, service, Address(address, port)))


def _this_node(site: Site) -> str | None:
    return next((name for name, node in site.site.nodes.items() if _here(node.addresses[0])), None)


def _here(address: str) -> bool:
    """Whether this machine has `address`. A socket cannot tell: a node may bind what it lacks, and leave from another."""
    try:
        if ":" in address:
            return any(line.startswith(f"{int(IPv6Address(address)):032x} ") for line in _IF_INET6.read_text().splitlines())
        lines = _FIB_TRIE.read_text().splitlines()
    except OSError:  # no Linux, or no IPv6: no node of a site
        return False
    return any(one.endswith(f"|-- {address}") and "/32 host LOCAL" in two for one, two in pairwise(lines))


def _allowed(addresses: list[str], networks: list[str]) -> bool:
    from ipaddress import ip_address, ip_network

    return any(ip_address(a) in ip_network(n) for a in addresses for n in networks if (":" in a) == (":" in n))


def _target(site: Site, service: Service, address: Address) -> member.Target:
    """The member's question, put to the service: its address, TLS as clients speak it, AE titles that may pass."""
    first = next(iter(service.members))
    found = member.target(service, first, site.site.ae_title, None)
    # The certificate is for the names that clients use, which the model does not know: it is not verified here.
    secure = Tls() if service.tls.mode != "none" else None
    match found:
        case dicom.DicomTarget():
            called = next(iter([*service.routes, *service.allow.called_ae]), found.called)
            calling = next(iter(service.allow.calling_ae), found.calling)
            return replace(found, address=address, called=called, calling=calling, tls=secure)
        case http.HttpTarget() | xds.XdsTarget():
            url = f"{'https' if secure else 'http'}://{address}{service.check.path or '/'}"
            return replace(found, url=url, tls=secure)
        case tls.TlsTarget():
            return replace(found, address=address, tls=Tls()) if secure else tcp.TcpTarget(address)
        case tcp.TcpTarget():
            return replace(found, address=address)
    return replace(found, address=address, tls=secure)


async def stays_open(target: tcp.TcpTarget, *, deadline: float) -> Verdict:
    """Connect, and see that nobody closes it at once: a balancer without a member would. `deadline` is in seconds."""

    async def question(asked: probe.Probe) -> str:
        sock = await connect(target.address, asked)
        loop = asyncio.get_running_loop()
        try:
            data = await asyncio.wait_for(loop.sock_recv(sock, 1), _LINGER)
        except ConnectionResetError:
            data = b""
        except TimeoutError:
            return f"{target.address} takes connections and keeps them"
        finally:
            sock.close()
        if not data:
            raise Failure(Reason.CLOSED, f"{target.address} closed at once: no member is left")
        return f"{target.address} speaks first"

    return await probe.run(question, deadline)


async def ask(question: Question, turn: asyncio.Semaphore) -> Row:
    """Ask one question when it is its turn."""
    place = (question.service, question.address, question.port, question.check)
    if question.target is None:
        return Row(*place, "not asked", "", question.why_not, 0.0, list(question.nodes))
    async with turn:
        if isinstance(question.target, tcp.TcpTarget):
            verdict = await stays_open(question.target, deadline=question.deadline)
        elif isinstance(question.target, verify_layer4.Kernel):
            verdict = await verify_layer4.check(question.target)
        else:
            verdict = await member.check(question.target, deadline=question.deadline)
    word = "up" if verdict.reason is Reason.OK else "down"
    return Row(*place, word, verdict.reason.value, verdict.detail, round(verdict.elapsed_ms, 1))


async def ask_all(asked: list[Question], *, wait: float = 0.0) -> list[Row]:
    """Ask all of them at once, a limited number at a time; rows in the order of the questions.

    What is down is asked again for `wait` seconds: after a start, a balancer's own checks are still on their way.
    """
    turn = asyncio.Semaphore(_AT_ONCE)
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    rows = await asyncio.gather(*(ask(question, turn) for question in asked))
    while (down := [n for n, row in enumerate(rows) if row.verdict == "down"]) and loop.time() < end:
        await asyncio.sleep(_PAUSE)
        again = await asyncio.gather(*(ask(asked[n], turn) for n in down))
        for n, row in zip(down, again, strict=True):
            rows[n] = row
    return rows


def worst(answers: dict[str, str]) -> list[Row]:
    """One row for each address and port out of several nodes' JSON: down before up before not asked, then the slowest.

    A layer 4 service that every node of its group leaves to the one that has the address is down: none has it.
    """
    badness = {"not asked": 0, "up": 1, "down": 2}
    kept: dict[tuple[str, str, int], Row] = {}
    for node, text in answers.items():
        for fields in json.loads(text):
            row = Row(**fields)
            if row.verdict == "down":
                row = replace(row, detail=f"{row.detail} (from {node})")
            key = (row.service, row.address, row.port)
            before = kept.get(key)
            if before is None or (badness[row.verdict], row.elapsed_ms) > (badness[before.verdict], before.elapsed_ms):
                kept[key] = row
    return [_held(row, set(answers)) for row in kept.values()]


def _held(row: Row, answered: set[str]) -> Row:
    if row.verdict == "not asked" and row.nodes and answered.issuperset(row.nodes):
        text = f"none of its nodes has the address ({', '.join(row.nodes)})"
        return replace(row, verdict="down", reason=Reason.UNREACHABLE.value, detail=text)
    return row


def table(rows: list[Row]) -> str:
    """Rows as text, in columns."""
    head = ("service", "address", "port", "check", "verdict", "reason", "ms")
    cells = [head]
    for row in rows:
        elapsed = "" if row.verdict == "not asked" else f"{row.elapsed_ms:.0f}"
        reason = row.reason if row.verdict == "up" else f"{row.reason} {row.detail}".strip()
        cells.append((row.service, row.address, str(row.port), row.check, row.verdict, reason, elapsed))
    widths = [min(max(len(line[column]) for line in cells), 60) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def verify(
    site: Annotated[
        Path, typer.Option("--site", metavar="PATH", help="The model: site.json, or an inventory directory.")
    ] = Path("/etc/rota/site.json"),
    wait: Annotated[
        float, typer.Option("--wait", metavar="S", help="Seconds for which services that are down are asked again.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Ask every service through its address, and print a table. Exit 0 when none is down, else 1."""
    from rota.checks.cli import quieten
    from rota.model import load

    result = load(site)
    if result.site is None:
        errors = [str(p) for p in result.problems if not p.warning] or [f"{site}: the part `site` is missing"]
        print("\n".join(errors), file=sys.stderr)
        raise typer.Exit(1)
    quieten()
    rows = asyncio.run(ask_all(questions(result.site), wait=wait))
    print(json.dumps([asdict(row) for row in rows]) if as_json else table(rows))
    raise typer.Exit(any(row.verdict == "down" for row in rows))
