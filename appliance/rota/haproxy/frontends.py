"""Frontends: who may come in, what is read of the request, and what is logged."""

from __future__ import annotations

from collections.abc import Iterable

from rota.haproxy import logs
from rota.haproxy.backends import pools
from rota.haproxy.section import Section, endpoint, quote, span
from rota.model.fields import family
from rota.model.schema import PersistenceKind, Service, TlsMode

# The parser takes 64 words a line.
_WORDS = 40
# The table of live associations; service names have no dot, so none can take this one.
ASSOCIATIONS = "rota.associations"
# Type and length of the PDU, version, reserved, two AE titles, reserved (PS3.8 Table 9-11).
_FIXED = 74


def frontend(name: str, service: Service) -> Section:
    """The frontend of a layer 7 service."""
    words = " — ".join(text for text in (service.department, service.description) if text)
    comment = f"{name}: {words or f'profile {service.profile}'}"
    lines = [*_binds(name, service), f"mode {'http' if service.is_http_mode else 'tcp'}"]
    lines += [f"timeout client {span(service.timeouts.client)}", "timeout client-fin 30s"]
    lines += ["option clitcpka", "clitcpka-idle 60s", "clitcpka-intvl 10s", "clitcpka-cnt 6"]
    tls = _ends_tls(service)
    if service.is_http_mode:
        lines += [f"log-format {quote(logs.requests(tls=tls))}", *_web(service)]
    elif service.reads_associations:
        lines += [f"log-format {quote(logs.associations(tls=tls))}", *_associations(service)]
    else:
        lines += [f"log-format {quote(logs.connections(tls=tls))}", *_connections(service)]
    lines += [f"error-log-format {quote(logs.ERRORS)}"] if tls else []
    return Section(comment, f"frontend {name}", [*lines, *_ways(name, service)])


def _ends_tls(service: Service) -> bool:
    return service.tls.mode in (TlsMode.OFFLOAD, TlsMode.RE_ENCRYPT)


def _binds(name: str, service: Service) -> list[str]:
    # transparent: the standby holds the sockets too, before it has the address
    words = ["transparent"]
    if any(family(a) == 6 for a in service.addresses):
        words.append("v6only")
    if _ends_tls(service):
        words.append(f"ssl crt certs/{name}.certificate.pem ssl-min-ver TLSv{service.tls.minimum}")
        if service.tls.client_ca is not None:
            words.append(f"ca-file certs/{name}.client-ca.pem verify required")
        if service.is_http_mode:
            words.append("alpn h2,http/1.1")
    options = " ".join(words)
    return [
        f"bind {endpoint(address, port)} {options if family(address) == 6 else options.replace(' v6only', '')}"
        for address in service.addresses
        for port in service.ports
    ]


def _acl(name: str, test: str, values: Iterable[str]) -> list[str]:
    words = [quote(value) for value in values]
    return [f"acl {name} {test} {' '.join(words[i : i + _WORDS])}" for i in range(0, len(words), _WORDS)]


def _associations(service: Service) -> list[str]:
    """Read the fixed part of the A-ASSOCIATE-RQ and no byte more; refuse with a proper A-ASSOCIATE-RJ."""
    allow = service.allow
    content = "tcp-request content"
    verdict = f"{content} set-var(txn.verdict)"
    lines = [
        f"tcp-request inspect-delay {span(service.timeouts.request)}",
        f"{verdict} str(no-request)",
        # one byte tells a browser or a TLS client apart
        f"{verdict} str(not-dicom) if {{ req.len gt 0 }} !{{ req.payload(0,1),hex -m str 01 }}",
        f"{content} reject if {{ var(txn.verdict) -m str not-dicom }}",
        f"{content} reject unless {{ req.len ge {_FIXED} }}",
        f"{verdict} str(not-dicom) unless {{ req.payload(0,8),hex -m reg ^01..0000....000[13579BDF]$ }}",
        f"{content} reject if {{ var(txn.verdict) -m str not-dicom }}",
        f"{content} set-var(txn.called) {quote(f'req.payload(10,16),{logs.CLEAN}')}",
        f"{content} set-var(txn.calling) {quote(f'req.payload(26,16),{logs.CLEAN}')}",
    ]
    if allow.sources:
        lines += _acl("source_allowed", "src", allow.sources)
        lines += _refuse("calling", "source-refused", "!source_allowed")
    if allow.calling_ae:
        lines += _acl("calling_allowed", "var(txn.calling) -m str", allow.calling_ae)
        lines += _refuse("calling", "calling-ae-refused", "!calling_allowed")
    called = list(dict.fromkeys([*service.routes, *allow.called_ae]))
    if called:
        lines += _acl("called_known", "var(txn.called) -m str", called)
        lines += _refuse("called", "called-ae-refused", "!called_known")
    lines.append(f"{verdict} str(accepted)")
    # an entry for as long as the association lives, so that `rota who` can name it
    entry = quote("%[src]:%[src_port] %[var(txn.calling)]|%[var(txn.called)]")
    lines += [
        f"{content} set-var-fmt(txn.association) {entry}",
        f"{content} track-sc0 var(txn.association) table {ASSOCIATIONS}",
    ]
    if service.persistence.kind is PersistenceKind.CALLING_AE:
        # with routes a caller is kept once per called AE
        key = "var(txn.calling),concat(/,txn.called)" if service.routes else "var(txn.calling)"
        lines.append(f"{content} set-var(txn.sticky) {key}")
    return lines


def _refuse(what: str, verdict: str, condition: str) -> list[str]:
    return [
        f"tcp-request content set-var(txn.verdict) str({verdict}) if {condition}",
        f"tcp-request content use-service lua.rota-refuse-{what} if {condition}",
    ]


def _connections(service: Service) -> list[str]:
    lines = []
    if service.allow.sources:
        lines += _acl("source_allowed", "src", service.allow.sources)
        lines += [
            "tcp-request content set-var(txn.verdict) str(source-refused) if !source_allowed",
            "tcp-request content reject if !source_allowed",
        ]
    return [*lines, "tcp-request content set-var(txn.verdict) str(accepted)"]


def _web(service: Service) -> list[str]:
    lines = [f"timeout http-request {span(service.timeouts.request)}", "timeout http-keep-alive 60s"]
    lines.append(f"http-request set-var(txn.path) {quote(logs.PATH)}")
    if service.allow.sources:
        lines += _acl("source_allowed", "src", service.allow.sources)
        lines.append("http-request deny deny_status 403 if !source_allowed")
    return [
        *lines,
        # set, not added: what a caller claims about itself is not passed on
        "http-request set-header X-Forwarded-For %[src]",
        f"http-request set-header X-Forwarded-Proto {'https' if _ends_tls(service) else 'http'}",
    ]


def _ways(name: str, service: Service) -> list[str]:
    lines = []
    for backend in list(pools(name, service))[1:]:
        addresses = " ".join(a for a in service.addresses if family(a) == 6)
        lines.append(f"use_backend {backend} if {{ dst {addresses} }}")
    return [*lines, f"default_backend {name}"]
