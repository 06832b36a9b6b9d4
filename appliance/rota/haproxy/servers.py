"""The members as HAProxy servers, and how each is asked for its health."""

from __future__ import annotations

from rota.haproxy import check_dicom, check_text
from rota.haproxy.section import endpoint, quote, span
from rota.model.fields import family
from rota.model.schema import CheckKind, Mode, Service, TlsMode

# Upper case: no member can have this name.
FALLBACK = "FALLBACK"
# Where rotad answers for what only deep checks know, and how often it is asked: it tells changes by itself, at once.
AGENT_ADDRESS = "127.0.0.1"
AGENT_PORT = 8405
AGENT_PACE = "10s"


def check_lines(name: str, service: Service) -> list[str]:
    """The rules of the check."""
    kind = service.check.kind
    if kind is CheckKind.DICOM:
        return check_dicom.lines(name, service)
    if kind is CheckKind.HL7:
        return check_text.hl7_lines(service)
    if kind is CheckKind.SOAP:
        return check_text.soap_lines(service)
    if kind is CheckKind.HTTP:
        return check_text.http_lines(service)
    # TCP, and TLS by the check-ssl of the servers
    return ["option tcp-check", "tcp-check connect default linger"]


def default_server(name: str, service: Service) -> str:
    """What all servers of a backend have in common."""
    check = service.check
    words = [
        f"inter {span(check.interval)} fastinter {span(check.fast_interval)} downinter {span(check.down_interval)}",
        f"fall {check.fall} rise {check.rise}",
    ]
    if not service.mode.is_l4:
        # live traffic is a detector too: the first refused connection hurries the next checks
        words.append("observe layer4 error-limit 1 on-error fastinter")
    if service.single_active:
        # a feed must not go on with a member that is out: the next one would get the rest out of order
        words.append("on-marked-down shutdown-sessions")
    words += _tls(name, service)
    return f"default-server {' '.join(words)}"


def check_in_tls(service: Service) -> bool:
    """Whether the check asks inside TLS."""
    if service.check.kind is CheckKind.TLS:
        return True
    return service.members_speak_tls if service.check.tls is None else service.check.tls


def _tls(name: str, service: Service) -> list[str]:
    tls = service.tls
    re_encrypts = tls.mode is TlsMode.RE_ENCRYPT
    checked = check_in_tls(service)
    if not re_encrypts and not checked:
        return []
    words = ["ssl"] if re_encrypts else []
    words.append("check-ssl" if checked else "no-check-ssl")
    words.append(f"ssl-min-ver TLSv{tls.minimum}")
    if tls.member_ca is not None and (tls.verify or not re_encrypts):
        words.append(f"verify required ca-file certs/{name}.member-ca.pem")
    else:
        words.append("verify none")
    if tls.member_certificate is not None:
        words.append(f"crt certs/{name}.member-certificate.pem")
    return words


def server_lines(name: str, service: Service, members: list[str]) -> list[str]:
    """One line per member, and one for the fallback server."""
    lines = [_server(name, service, member) for member in members]
    fallback = service.fallback
    if fallback is not None and fallback.address is not None and not service.mode.is_l4:
        where = endpoint(fallback.address, fallback.port)
        # It sees the node's address, in transparent mode too: it may be of another family, and anywhere.
        lines.append(f"server {FALLBACK} {where} backup track {name}.fallback/{FALLBACK}")
    return lines


def _server(service_name: str, service: Service, name: str) -> str:
    member = service.members[name]
    words = [f"server {name} {endpoint(member.address, member.port)} check weight {member.weight}"]
    if member.port != service.check_port_of(name):
        words.append(f"port {service.check_port_of(name)}")
    if member.backup and not service.mode.is_l4:
        words.append("backup")
    if member.max_associations is not None:
        words.append(f"maxconn {member.max_associations}")
    if member.tls_name is not None and (service.members_speak_tls or check_in_tls(service)):
        sni = f"sni str({member.tls_name}) " if service.tls.mode is TlsMode.RE_ENCRYPT else ""
        words.append(f"{sni}check-sni {quote(member.tls_name)} verifyhost {quote(member.tls_name)}")
    if service.deep:
        # an agent that cannot be reached changes nothing; what it said last is undone by rotad
        words.append(f"agent-check agent-inter {AGENT_PACE} agent-addr {AGENT_ADDRESS} agent-port {AGENT_PORT}")
        words.append(f'agent-send "{service_name}/{name}\\n"')
    if service.persistence.kind == "cookie":
        words.append(f"cookie {name}")
    return " ".join(words) + _source(service, member.address)


def _source(service: Service, address: str) -> str:
    if service.mode is not Mode.L7_TRANSPARENT:
        return ""
    anybody = "[::]" if family(address) == 6 else "0.0.0.0"  # noqa: S104 (no socket is bound)
    return f" source {anybody} usesrc clientip"
