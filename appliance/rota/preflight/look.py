"""The looks at one member: each gives one finding, and none raises for what the network does."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from rota.checks import member as members
from rota.checks import tls
from rota.checks.http import exchange
from rota.checks.net import Address, connect
from rota.checks.probe import Probe, run
from rota.checks.trust import Tls
from rota.checks.verdict import Failure, Reason, Verdict
from rota.checks.wire import opened
from rota.model import Service, Site, lint
from rota.model.fields import family, format_duration
from rota.model.layer4 import Protocol
from rota.model.schema import CheckKind, Mode
from rota.preflight import direct, network
from rota.preflight.findings import Finding, Level, Row, Subject
from rota.preflight.sheet import source_of

_DEADLINE = 5.0
_SOON = 30  # days
_SKEW = 5.0  # seconds; IHE CT allows 1, but an HTTP date has whole seconds and a way to go
_SMALL_PDU = 16384
_AT_ONCE = 16


async def look(site: Site, node: str, service: str | None, files: Path) -> list[Row]:
    """Look at every member of the services of a node (or of one), several at a time, in model order."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str, member: str) -> Row:
        async with room:
            return await _member(site, node, name, member, files)

    wanted = [(n, m) for n, s in site.services_of(node).items() if service in (None, n) for m in s.members]
    return list(await asyncio.gather(*(one(name, member) for name, member in wanted)))


async def _member(site: Site, node: str, name: str, member: str, files: Path) -> Row:
    service = site.services[name]
    real = service.members[member]
    # datagrams are not answered: what can be asked is where its check asks
    port = service.check_port_of(member) if service.protocol is Protocol.UDP else real.port or service.ports[0]
    address = Address(real.address, port)
    reach, local = await _reach(address)
    findings = [reach]
    if reach.level is not Level.BLOCK:
        findings.append(await _check(site, service, name, member, files))
    findings.append(_source(site, node, service, real.address, local))
    findings.append(await _name(local or source_of(site, node, real.address)))
    findings.append(await _mtu(real.address))
    if service.mode in (Mode.L4_DR, Mode.L4_TUN):
        findings += await _layer2(service, real.address)
    if reach.level is not Level.BLOCK:
        trust = _trust(name, service, member, files)
        if trust is not None:
            findings.append(await _tls(address, trust))
        if service.profile.is_http:
            findings.append(await _clock(address, service.members_speak_tls))
        if service.profile.is_dicom:
            findings.append(await _pdu(site, service, member, address, service.members_speak_tls))
    findings.append(_times(name, service))
    return Row(node, name, member, real.address, port, findings)


async def _reach(address: Address) -> tuple[Finding, str | None]:
    local: str | None = None
    began = time.monotonic()

    async def question(probe: Probe) -> str:
        nonlocal local
        with await connect(address, probe) as sock:
            local = str(sock.getsockname()[0])
        return f"{(time.monotonic() - began) * 1000:.0f} ms"

    verdict = await run(question, _DEADLINE)
    level = Level.OK if verdict.up else Level.BLOCK
    return Finding(Subject.REACH, level, verdict.detail if verdict.up else f"{verdict.reason}: {verdict.detail}"), local


async def _check(site: Site, service: Service, name: str, member: str, files: Path) -> Finding:
    try:
        target = members.target(service, member, site.site.ae_title, members.trust_of(name, service, member, files))
        verdict = await members.check(target, deadline=max(service.check.timeout / 1000, 3.0))
    except ValueError as problem:
        return Finding(Subject.CHECK, Level.UNKNOWN, f"cannot be asked from here: {problem}")
    return _judged(Subject.CHECK, verdict)


def _judged(subject: Subject, verdict: Verdict) -> Finding:
    if verdict.up:
        return Finding(subject, Level.OK, verdict.detail)
    # busy means that it is alive
    level = Level.WARN if verdict.reason is Reason.BUSY else Level.BLOCK
    return Finding(subject, level, f"{verdict.reason}: {verdict.detail}")


def _source(site: Site, node: str, service: Service, member: str, local: str | None) -> Finding:
    """Which address the member sees: its allow-list must hold it."""
    expected = source_of(site, node, member)
    seen = local or expected or "unknown"
    text = (
        f"work and checks from {seen}"
        if service.mode is Mode.L7
        else f"work from each caller's own address, checks from {seen}"
    )
    if local is not None and expected and local != expected:
        return Finding(Subject.SOURCE, Level.WARN, f"{text}; the model says {expected}: give the vendor both")
    return Finding(Subject.SOURCE, Level.OK if local else Level.UNKNOWN, text)


async def _name(address: str) -> Finding:
    """Servers that look up their caller stall for 15 s without an answer (DCMTK does)."""
    if not address:
        return Finding(Subject.NAME, Level.UNKNOWN, "no address to look up")
    name, took = await network.reverse_name(address)
    if name is None:
        return Finding(
            Subject.NAME, Level.WARN, f"{address} has no reverse name here: a DCMTK server without DNS stalls 15 s"
        )
    if took > 2:
        return Finding(Subject.NAME, Level.WARN, f"{address} is {name}, but that took {took:.1f} s")
    return Finding(Subject.NAME, Level.OK, f"{address} is {name}")


async def _mtu(address: str) -> Finding:
    way = await network.route(address)
    if way is None:
        return Finding(Subject.MTU, Level.UNKNOWN, "no route")
    size = min(way.mtu or 1500, 9000)
    whole = await network.echo(address, size)
    if whole:
        return Finding(Subject.MTU, Level.OK, f"{size} bytes pass in one packet")
    small = await network.echo(address, 576 if ":" not in address else 1280)
    if whole is None or small is None or not small:
        return Finding(Subject.MTU, Level.UNKNOWN, "it answers no ping, so the path's MTU cannot be asked")
    low, high = 576 if ":" not in address else 1280, size
    while high - low > 8:
        middle = (low + high) // 2
        low, high = (middle, high) if await network.echo(address, middle, deadline=0.5) else (low, middle)
    return Finding(
        Subject.MTU, Level.WARN, f"only about {low} bytes pass, the interface sends {size}: large images may stall"
    )


async def _layer2(service: Service, member: str) -> list[Finding]:
    """DR: the member must be a neighbour that is quiet for the service address; DR and TUN: it must take its packets."""
    way = await network.route(member)
    if way is None:
        return [Finding(Subject.LAYER2, Level.BLOCK, "no route")]
    if service.mode is Mode.L4_TUN:
        return [await _takes(service, member, way, None, "tunnel")]
    if way.gateway is not None:
        text = f"behind the router {way.gateway}: direct routing needs the same layer 2"
        return [Finding(Subject.LAYER2, Level.BLOCK, text)]
    hardware = await network.neighbour(member)
    loud, asked = set(), family(member) == 6  # IPv6 answers for addresses of the interface only (RFC 4861 7.2.3)
    for address in service.addresses:
        if ":" not in address and family(member) == 4:
            answers = await network.arp_answers(address, way.interface)
            asked = asked or answers is not None
            loud |= {address} if hardware in (answers or set()) else set()
    if loud:
        text = f"answers ARP for {', '.join(sorted(loud))}: set arp_ignore=1 and arp_announce=2 there"
        return [Finding(Subject.LAYER2, Level.BLOCK, text)]
    if not asked or hardware is None:
        return [Finding(Subject.LAYER2, Level.UNKNOWN, "same layer 2; whether it is quiet could not be asked")]
    return [await _takes(service, member, way, hardware, f"neighbour {hardware}, quiet")]


async def _takes(service: Service, member: str, way: network.Route, hardware: str | None, words: str) -> Finding:
    """Whether the member takes packets for the service's addresses, as IPVS will send them."""
    if service.protocol is Protocol.UDP:
        return Finding(
            Subject.LAYER2, Level.UNKNOWN, f"{words}; UDP is not answered, so whether it takes packets is unknown"
        )
    tunnel = None if hardware else member
    own = way.source
    if not own:
        return Finding(Subject.LAYER2, Level.UNKNOWN, f"{words}; no own address to ask from")
    for address in service.addresses:
        if family(address) != family(member):
            continue
        try:
            taken = await direct.answers(address, service.ports[0], own, way.interface, hardware=hardware, tunnel=tunnel)
        except direct.CannotAsk as problem:
            return Finding(Subject.LAYER2, Level.UNKNOWN, f"{words}; whether it takes packets could not be asked: {problem}")
        if not taken:
            where = "a tunnel interface" if tunnel else "lo"
            text = f"{words}, but takes no packets for {address}: it needs the address on {where} (playbooks/member.yml)"
            return Finding(Subject.LAYER2, Level.BLOCK, text)
    return Finding(Subject.LAYER2, Level.OK, f"{words}, takes packets for the service address")


def _trust(name: str, service: Service, member: str, files: Path) -> Tls | None:
    if not service.members_speak_tls and service.check.kind is not CheckKind.TLS:
        return None
    try:
        return members.trust_of(name, service, member, files) or Tls()
    except ValueError:
        return Tls()


async def _tls(address: Address, trust: Tls) -> Finding:
    verdict = await tls.check(tls.TlsTarget(address, trust, _SOON), deadline=_DEADLINE)
    if verdict.reason is Reason.EXPIRING:
        return Finding(Subject.TLS, Level.WARN, verdict.detail)
    if verdict.up and trust.ca is None:
        return Finding(Subject.TLS, Level.OK, f"{verdict.detail}; its chain is not verified (no member_ca)")
    return _judged(Subject.TLS, verdict)


async def _clock(address: Address, secure: bool) -> Finding:
    """The one clock that can be read from outside: the Date of an HTTP answer (RFC 9110, 6.6.1)."""
    skew: float | None = None

    async def question(probe: Probe) -> str:
        nonlocal skew
        url = f"{'https' if secure else 'http'}://{address}/"
        answer = await exchange(probe, "HEAD", url, tls=Tls() if secure else None)
        date = {k.lower(): v for k, v in answer.headers.items()}.get("date")
        if date is None:
            raise Failure(Reason.BAD_CONTENT, "no Date in its answer")
        try:
            skew = (parsedate_to_datetime(date).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            raise Failure(Reason.BAD_CONTENT, "its Date cannot be read") from None
        return ""

    verdict = await run(question, _DEADLINE)
    if skew is None:
        return Finding(Subject.CLOCK, Level.UNKNOWN, verdict.detail)
    level = Level.WARN if abs(skew) > _SKEW else Level.OK
    return Finding(Subject.CLOCK, level, f"{skew:+.0f} s against this node")


async def _pdu(site: Site, service: Service, member: str, address: Address, secure: bool) -> Finding:
    """What the server lets us send in one PDU: small ones make large studies slow."""
    from rota.checks import dicom_codec as codec

    found: int | None = None

    async def question(probe: Probe) -> str:
        nonlocal found
        called = service.called_ae_of(member) or "ANY-SCP"
        calling = service.check.calling_ae or site.site.ae_title
        async with opened(address, probe, Tls() if secure else None) as wire:
            await wire.write(codec.associate_request(called, calling, [codec.ECHO]))
            head = await wire.read_exactly(6)
            if head[0] != codec.ASSOCIATE_AC or int.from_bytes(head[2:6], "big") > 1 << 20:
                raise Failure(Reason.REJECTED, "no association, no PDU size")
            try:
                found = codec.read_accept(await wire.read_exactly(int.from_bytes(head[2:6], "big"))).maximum_pdu
            except ValueError as problem:
                raise Failure(Reason.BAD_ANSWER, f"broken acceptance: {problem}") from None
            wire.farewell(codec.abort())
        return ""

    verdict = await run(question, _DEADLINE)
    if found is None:
        return Finding(Subject.PDU, Level.UNKNOWN, verdict.detail)
    if found == 0:
        return Finding(Subject.PDU, Level.OK, "any size")
    level = Level.WARN if found < _SMALL_PDU else Level.OK
    return Finding(
        Subject.PDU, level, f"{found} bytes" + ("" if level is Level.OK else ": small, large studies will be slow")
    )


def _times(name: str, service: Service) -> Finding:
    times = service.timeouts
    text = f"connect {format_duration(times.connect)}, idle {format_duration(times.client)}/{format_duration(times.server)}"
    if service.mode.is_l4:
        return Finding(Subject.TIMES, Level.OK, "layer 4: the kernel's")
    found = [p.text for p in lint.services({name: service}) if ".timeouts." in p.path]
    if found:
        return Finding(Subject.TIMES, Level.WARN, f"{text}; {found[0]}")
    return Finding(Subject.TIMES, Level.OK, text)
