"""What a look at one field cannot find: contradictions, and settings that would hurt patients' work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from rota.model.fields import format_duration
from rota.model.lint_deep import deep
from rota.model.lint_layer4 import rules as layer4_rules
from rota.model.lint_layer4 import settings as layer4_settings
from rota.model.lint_management import management
from rota.model.lint_site import groups, networks, nodes
from rota.model.problems import Problem, nearest
from rota.model.profiles import CHECK_KEYS
from rota.model.schema import (
    CheckKind,
    PersistenceKind,
    Service,
    Settings,
    TlsMode,
)

Found = Iterator[Problem]

# dcm4chee-arc waits 300 s in store and retrieve: whatever is shorter cuts work that both ends still want.
_STUDY = 300_000
_FEED = 3_600_000
_RETRIEVE = 60_000


def check_name(name: object) -> None:
    """ValueError unless `name` may be a service's or a member's name."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise ValueError(f"{name!r} is not a name (lower-case letters, digits and -, at most 32)")


def services(all_services: dict[str, Service]) -> list[Problem]:
    """Problems of services alone and among each other."""
    found = [p for name, service in all_services.items() for rule in _RULES for p in rule(f"services.{name}", service)]
    for rule in (_same_address_and_port, _member_is_service_address, _plain_and_tls):
        found += rule(all_services)
    return found


def site(settings: Settings, all_services: dict[str, Service]) -> list[Problem]:
    """Problems of the site, and of services in it."""
    return [*nodes(settings), *groups(settings), *management(settings), *networks(settings, all_services),
            *layer4_settings(settings, all_services)]  # fmt: skip


# -- one service ------------------------------------------------------------------------------------------------------


def _members(path: str, service: Service) -> Found:
    seen: dict[tuple[str, int | None], str] = {}
    for name, member in service.members.items():
        key = (member.address, member.port)
        if key in seen:
            yield Problem(
                f"{path}.members.{name}.address",
                f"{member.address} with this port is already member {seen[key]}",
            )
        seen.setdefault(key, name)
    if all(member.backup for member in service.members.values()):
        yield Problem(f"{path}.members", "all are backup: at least one must serve from the start")
    if service.check.kind is CheckKind.DICOM:
        for name in service.members:
            if service.called_ae_of(name) is None:
                yield Problem(
                    f"{path}.members.{name}.called_ae",
                    "is missing: a DICOM check must call the member's AE title",
                )


def _feed(path: str, service: Service) -> Found:
    active = [name for name, member in service.members.items() if not member.backup]
    if service.profile.is_hl7 and len(active) > 1:
        yield Problem(
            f"{path}.members",
            f"an HL7 feed is spread over several active members ({', '.join(active)}): messages may arrive out of order",
            warning=True,
        )


def _persistence(path: str, service: Service) -> Found:
    kind = service.persistence.kind
    if kind is PersistenceKind.COOKIE and not service.is_http_mode:
        yield Problem(
            f"{path}.persistence.kind",
            "cookie needs HTTP that the node can read (a web profile, TLS not passed through)",
        )
    if kind is PersistenceKind.CALLING_AE and not service.reads_associations:
        yield Problem(
            f"{path}.persistence.kind",
            "calling-ae needs associations that the node can read (DICOM, layer 7, TLS not passed through)",
        )
    if service.single_active and kind is not PersistenceKind.NONE:
        yield Problem(
            f"{path}.persistence.kind",
            f"{kind} has no meaning while single_active sends everybody to one member",
        )


def _associations(path: str, service: Service) -> Found:
    asked = {
        "routes": bool(service.routes),
        "allow.calling_ae": bool(service.allow.calling_ae),
        "allow.called_ae": bool(service.allow.called_ae),
    }
    for key, used in asked.items():
        if used and not service.reads_associations:
            yield Problem(
                f"{path}.{key}",
                "needs associations that the node can read (DICOM, layer 7, TLS not passed through)",
            )
    for called, members in service.routes.items():
        if not members:
            yield Problem(f"{path}.routes.{called}", "leads nowhere: name at least one member")
        for index, name in enumerate(members):
            if name not in service.members:
                text = f"{name} is not a member of this service{nearest(name, service.members)}"
                yield Problem(f"{path}.routes.{called}[{index}]", f"leads nowhere: {text}")
    if service.mode.is_l4 and service.allow.sources:
        yield Problem(f"{path}.allow.sources", f"needs layer 7: {service.mode} forwards packets unread")


def _check(path: str, service: Service) -> Found:
    check = service.check
    kinds = set().union(*CHECK_KEYS.values())
    for key in sorted(kinds - CHECK_KEYS[check.kind]):
        if getattr(check, key) is not None:
            yield Problem(f"{path}.check.{key}", f"has no meaning for a {check.kind} check")
    if check.timeout > check.interval:
        yield Problem(
            f"{path}.check.timeout",
            f"{format_duration(check.timeout)} is longer than the interval {format_duration(check.interval)}",
        )
    if check.fast_interval > check.interval:
        yield Problem(
            f"{path}.check.fast_interval",
            f"{format_duration(check.fast_interval)} is slower than the interval",
        )
    status = check.status
    if status is not None and not re.fullmatch(r"[1-5]\d\d(-[1-5]\d\d)?", status):
        yield Problem(f"{path}.check.status", f"{status} is neither a status nor a range such as 200-399")
    if check.message_type is not None and not re.fullmatch(r"[A-Z0-9]{3}(:[A-Z0-9_]{2,7}){0,2}", check.message_type):
        yield Problem(f"{path}.check.message_type", f"{check.message_type} is not a message type such as NMD:N02")


def _timeouts(path: str, service: Service) -> Found:
    if service.mode.is_l4:
        return
    limits = []
    if service.profile.is_dicom:
        limits = [(_STUDY, False, "would cut a study: PACS stay silent up to 300 s while they store or retrieve")]
    elif service.profile.is_hl7:
        limits = [(_FEED, True, "closes quiet feeds: senders often keep one connection for ever")]
    elif service.profile in ("dicomweb", "xds-repository", "xds-imaging"):
        limits = [
            (
                _RETRIEVE,
                False,
                "would cut a study: an archive may take a minute before the first byte of a retrieve",
            )
        ]
    for limit, mild, why in limits:
        for side in ("client", "server"):
            value = getattr(service.timeouts, side)
            if value < limit:
                yield Problem(
                    f"{path}.timeouts.{side}",
                    f"{format_duration(value)} {why} (at least {format_duration(limit)})",
                    warning=mild,
                )


def _tls(path: str, service: Service) -> Found:
    tls = service.tls
    ends_here = tls.mode in (TlsMode.OFFLOAD, TlsMode.RE_ENCRYPT)
    if ends_here and tls.certificate is None:
        yield Problem(f"{path}.tls.certificate", f"is missing: {tls.mode} needs the certificate that clients will see")
    for key in ("certificate", "client_ca"):
        if not ends_here and getattr(tls, key) is not None:
            yield Problem(f"{path}.tls.{key}", f"has no meaning with tls.mode {tls.mode}")
    re_encrypts = tls.mode is TlsMode.RE_ENCRYPT
    if re_encrypts and tls.verify and tls.member_ca is None:
        yield Problem(f"{path}.tls.member_ca", "is missing: re-encrypt verifies the members (verify: false would not)")
    if tls.minimum not in ("1.2", "1.3"):
        yield Problem(f"{path}.tls.minimum", f"{tls.minimum} is neither 1.2 nor 1.3")
    if service.profile in ("dicom-tls", "hl7-tls") and tls.mode is TlsMode.NONE:
        yield Problem(f"{path}.tls.mode", f"none contradicts profile {service.profile}")
    if service.profile in ("dicom", "hl7") and tls.mode is not TlsMode.NONE:
        yield Problem(f"{path}.tls.mode", f"{tls.mode} needs profile {service.profile}-tls")


def _fallback(path: str, service: Service) -> Found:
    fallback = service.fallback
    if fallback is None:
        return
    if fallback.page is not None and not service.is_http_mode:
        yield Problem(f"{path}.fallback.page", "needs HTTP that the node can read; name an address instead")
    if fallback.page is None and fallback.address is None:
        yield Problem(f"{path}.fallback", "names neither an address nor a page")
    if fallback.address is None and fallback.port is not None:
        yield Problem(f"{path}.fallback.address", "is missing, but there is a port")


_RULES: tuple[Callable[[str, Service], Found], ...] = (
    _members,
    _feed,
    *layer4_rules,
    _persistence,
    _associations,
    _check,
    deep,
    _timeouts,
    _tls,
    _fallback,
)


# -- services among each other ----------------------------------------------------------------------------------------


def _same_address_and_port(all_services: dict[str, Service]) -> Found:
    taken: dict[tuple[str, int, str], str] = {}
    for name, service in all_services.items():
        for address in service.addresses:
            for port in service.ports:
                others = [taken.setdefault((address, port, protocol), name) for protocol in service.protocol.each]
                for other in {o for o in others if o != name}:
                    kinds = {service.profile.value, all_services[other].profile.value}
                    why = ": plain and TLS DICOM cannot share a port" if kinds == {"dicom", "dicom-tls"} else ""
                    yield Problem(
                        f"services.{name}.ports",
                        f"{address} port {port} is already taken by service {other}{why}",
                    )
        listed = {"addresses": service.addresses, "ports": [str(port) for port in service.ports]}
        for key, values in listed.items():
            for value in sorted({v for v in values if values.count(v) > 1}):
                yield Problem(f"services.{name}.{key}", f"{value} is there twice")


def _member_is_service_address(all_services: dict[str, Service]) -> Found:
    owner = {address: name for name, service in all_services.items() for address in service.addresses}
    for name, service in all_services.items():
        for member, server in service.members.items():
            if server.address in owner:
                text = f"{server.address} is the address of service {owner[server.address]}: a member must be a real server"
                yield Problem(f"services.{name}.members.{member}.address", text)


def _plain_and_tls(all_services: dict[str, Service]) -> Found:
    """A DICOM server speaks plain or TLS on one port, never both (PS3.15 B.12)."""
    plain: dict[tuple[str, int | None], str] = {}
    for name, service in all_services.items():
        if service.profile.is_dicom and not service.members_speak_tls:
            plain.update({(m.address, m.port): name for m in service.members.values()})
    for name, service in all_services.items():
        if service.profile.is_dicom and service.members_speak_tls:
            for member, server in service.members.items():
                other = plain.get((server.address, server.port))
                if other:
                    text = (
                        f"{server.port} is used without TLS by service {other}: a port speaks plain or TLS DICOM, not both"
                    )
                    yield Problem(f"services.{name}.members.{member}.port", text)
