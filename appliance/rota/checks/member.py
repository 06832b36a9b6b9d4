"""The check of a member, as the model describes it: what keepalived runs for a layer 4 service, and an engineer by hand."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rota.checks import dicom, hl7, http, tcp, tls, xds
from rota.checks.net import Address
from rota.checks.trust import Tls
from rota.checks.verdict import Verdict

if TYPE_CHECKING:
    from rota.model import Service

Target = dicom.DicomTarget | hl7.Hl7Target | http.HttpTarget | tcp.TcpTarget | tls.TlsTarget | xds.XdsTarget
_KINDS: dict[str, Literal["registry", "repository", "imaging"]] = {
    "xds-repository": "repository",
    "xds-imaging": "imaging",
}


def find(site: Path, service: str, member: str, files: Path) -> tuple[Target, float]:
    """Return the target of a member's check and its time-out in seconds; ValueError if the model has no such member.

    `site` is read with `rota.model.load`. `files` is the folder of the members' certificates on a node: the role haproxy
    puts them there as SERVICE.member-ca.pem and SERVICE.member-certificate.pem.
    """
    from rota.model import load

    result = load(site)
    errors = [problem for problem in result.problems if not problem.warning]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ValueError(f"{errors[0]}{more}")
    if service not in result.services:
        raise ValueError(f"{site}: there is no service {service}")
    found = result.services[service]
    if member not in found.members:
        raise ValueError(f"{site}: the service {service} has no member {member}")
    calling = result.site.site.ae_title if result.site else "ROTA"
    trust = trust_of(service, found, member, files)
    return target(found, member, calling, trust), found.check.timeout / 1000


def target(service: Service, member: str, calling: str, trust: Tls | None) -> Target:
    """Return what to ask of `member`, and how; inside TLS if `trust` is given."""
    check = service.check
    address = Address(service.members[member].address, service.check_port_of(member))
    url = f"{'https' if trust else 'http'}://{address}{check.path or '/'}"
    # A virtual host is asked by the name or the address that clients use.
    host = check.host or str(Address(service.addresses[0], 80)).removesuffix(":80")
    match check.kind:
        case "dicom":
            called = service.called_ae_of(member) or "ANY-SCP"
            return dicom.DicomTarget(address, called, check.calling_ae or calling, tls=trust)
        case "hl7":
            return hl7.Hl7Target(
                address,
                check.sending_application or "",
                check.sending_facility or "",
                check.receiving_application or "",
                check.receiving_facility or "",
                (check.message_type or "NMD:N02").replace(":", "^"),
                tls=trust,
            )
        case "http":
            status = check.status or "200-399"
            return http.HttpTarget(url, status, trust, check.method or "GET", host, check.expect)
        case "soap":
            kind = _KINDS.get(service.profile, "registry")
            return xds.XdsTarget(url, kind, trust, host, check.soap_action, check.expect)
        case "tls":
            return tls.TlsTarget(address, trust or Tls())
    return tcp.TcpTarget(address)


def trust_of(name: str, service: Service, member: str, files: Path) -> Tls | None:
    """How the check of a member speaks TLS, or None when it does not; ValueError when a file is no use."""
    check, settings = service.check, service.tls
    if check.kind != "tls" and not (service.members_speak_tls if check.tls is None else check.tls):
        return None
    verifies = settings.member_ca is not None and (settings.verify or settings.mode != "re-encrypt")
    return Tls(
        files / f"{name}.member-ca.pem" if verifies else None,
        files / f"{name}.member-certificate.pem" if settings.member_certificate else None,
        None,
        service.members[member].tls_name,
    )


def check(found: Target, *, deadline: float) -> Coroutine[Any, Any, Verdict]:
    """Ask `found`, whatever its kind. `deadline` is in seconds."""
    match found:
        case dicom.DicomTarget():
            return dicom.check(found, deadline=deadline)
        case hl7.Hl7Target():
            return hl7.check(found, deadline=deadline)
        case http.HttpTarget():
            return http.check(found, deadline=deadline)
        case xds.XdsTarget():
            return xds.check(found, deadline=deadline)
        case tls.TlsTarget():
            return tls.check(found, deadline=deadline)
        case tcp.TcpTarget():
            return tcp.check(found, deadline=deadline)
