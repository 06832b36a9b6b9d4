"""Backends: where the members of a service are probed, switched and chosen."""

from __future__ import annotations

from rota.haproxy import servers
from rota.haproxy.section import Section, endpoint, quote, span
from rota.model.fields import family
from rota.model.schema import Mode, PersistenceKind, Service

PEERS = "rota"
OWN_PAGE = "pages/rota.html"
_HOUR = 3_600_000


def pools(name: str, service: Service) -> dict[str, list[str]]:
    """Backend → its members. One backend, but for a transparent service of both families: a caller needs one of its own."""
    members = list(service.members)
    if service.mode is not Mode.L7_TRANSPARENT or len({family(a) for a in service.addresses}) == 1:
        return {name: members}
    of = {4: [m for m in members if family(service.members[m].address) == 4]}
    of[6] = [m for m in members if m not in of[4]]
    return {name: of[4], f"{name}.v6": of[6]}


def backends(name: str, service: Service) -> list[Section]:
    """All backends of a service."""
    sections = [_backend(name, backend, service, members) for backend, members in pools(name, service).items()]
    fallback = service.fallback
    if fallback is not None and fallback.address is not None and not service.mode.is_l4:
        sections.append(_fallback(name, service))
    return sections


def chooses(service: Service) -> bool:
    """Whether Rota's own action admits associations: HAProxy alone knows neither subsets nor an answer after a wait."""
    limited = any(member.max_associations is not None for member in service.members.values())
    return service.reads_associations and (bool(service.routes) or limited)


def _backend(name: str, backend: str, service: Service, members: list[str]) -> Section:
    if service.mode.is_l4:
        comment = f"{name}: traffic passes at layer 4 ({service.mode}); here the members are only asked and switched"
        lines = ["mode tcp", *_probing(name, service), *servers.server_lines(name, service, members)]
        return Section(comment, f"backend {backend}", lines)
    comment = f"{name}: {'the members for IPv6 callers' if backend != name else 'the members'}"
    lines = [f"mode {'http' if service.is_http_mode else 'tcp'}", f"balance {service.balance}", *_times(service)]
    lines += ["option srvtcpka", "srvtcpka-idle 60s", "srvtcpka-intvl 10s", "srvtcpka-cnt 6"]
    lines += _web(name, service) if service.is_http_mode else []
    lines += _persistence(service)
    lines += _admission(backend, service, members) if service.reads_associations else []
    lines += _probing(name, service)
    lines += servers.server_lines(name, service, members)
    return Section(comment, f"backend {backend}", lines)


def _times(service: Service) -> list[str]:
    times = service.timeouts
    lines = [f"timeout connect {span(times.connect)}", f"timeout server {span(times.server)}"]
    lines.append(f"timeout queue {span(times.queue)}")
    if service.is_http_mode:
        # a viewer's web socket
        lines.append(f"timeout tunnel {span(max(times.client, times.server, _HOUR))}")
    return lines


def _probing(name: str, service: Service) -> list[str]:
    rules = servers.check_lines(name, service)
    return [f"timeout check {span(service.check.timeout)}", *rules, servers.default_server(name, service)]


def _web(name: str, service: Service) -> list[str]:
    page = service.fallback.page if service.fallback else None
    file = f"pages/{name}.html" if page is not None else OWN_PAGE
    return [
        # what HAProxy answers when no member is left
        f"http-error status 503 content-type text/html file {file} hdr Retry-After 30 hdr Cache-Control no-store",
    ]


def _persistence(service: Service) -> list[str]:
    kind, timeout = service.persistence.kind, span(service.persistence.timeout)
    if service.single_active:
        # One key for everybody and no expiry: who serves, serves until it fails; who comes back, waits.
        # (A change needs room beside the old entry, or it is not stored.)
        return [
            f"stick-table type integer size 16 nopurge peers {PEERS}",
            "stick on int(1)",
            # after a reload: not before it is known who served until now
            "tcp-request inspect-delay 10s",
            "tcp-request content lua.rota-settle",
        ]
    if kind is PersistenceKind.SOURCE:
        return [f"stick-table type ipv6 size 100k expire {timeout} peers {PEERS}", f"stick on {_source(service)}"]
    if kind is PersistenceKind.CALLING_AE:
        return [f"stick-table type string len 40 size 100k expire {timeout} peers {PEERS}", "stick on var(txn.sticky)"]
    if kind is PersistenceKind.COOKIE:
        secure = " secure" if service.tls.mode != "none" else ""
        return [f"cookie {service.persistence.cookie} insert indirect nocache httponly{secure}"]
    return []


def _source(service: Service) -> str:
    """The caller's address, or the part of it that callers share."""
    persistence = service.persistence
    if (persistence.prefix_v4, persistence.prefix_v6) == (32, 128):
        return "src"
    return f"src,ipmask({persistence.prefix_v4},{persistence.prefix_v6})"


def _admission(backend: str, service: Service, members: list[str]) -> list[str]:
    """Refuse properly when no member is left, and choose among those that a called AE may reach."""
    busy = "tcp-request content use-service lua.rota-refuse-busy"
    if not chooses(service):
        none = "{ nbsrv eq 0 }"
        return [f"tcp-request content set-var(txn.verdict) str(no-member) if {none}", f"{busy} if {none}"]
    times = service.timeouts
    lines = [f"tcp-request inspect-delay {span(times.queue + 1000)}"]
    for called, named in service.routes.items():
        ours = " ".join(member for member in named if member in members) or "-"
        route = quote(f"str({ours})")
        lines.append(f"tcp-request content set-var(txn.route) {route} if {{ var(txn.called) -m str {quote(called)} }}")
    if service.persistence.kind is not PersistenceKind.NONE:
        key = "var(txn.sticky)" if service.persistence.kind is PersistenceKind.CALLING_AE else _source(service)
        lines.append(f"tcp-request content set-var(txn.sticky_id) {key},table_server_id({backend})")
    lines += [
        # what stays if the action should fail: no association may pass unjudged
        "tcp-request content set-var(txn.verdict) str(fault)",
        f"tcp-request content lua.rota-admit {times.queue}",
        f"{busy} unless {{ var(txn.verdict) -m str accepted }}",
        "use-server %[var(txn.member)] if { var(txn.member) -m found }",
    ]
    if service.routes:
        # A study must never land in the archive of another called AE: no second choice, whatever happens.
        lines += ["no option redispatch", "option persist"]
    return lines


def _fallback(name: str, service: Service) -> Section:
    fallback = service.fallback
    assert fallback is not None  # noqa: S101 (the caller asked)
    assert fallback.address is not None  # noqa: S101
    port = fallback.port or service.ports[0]
    pace = f"inter {span(service.check.interval)} fall {service.check.fall} rise {service.check.rise}"
    return Section(
        f"{name}: the fallback server, asked only whether it takes connections",
        f"backend {name}.fallback",
        [
            "mode tcp",
            f"timeout check {span(service.check.timeout)}",
            "option tcp-check",
            "tcp-check connect default linger",
            f"server {servers.FALLBACK} {endpoint(fallback.address, port)} check {pace}",
        ],
    )
